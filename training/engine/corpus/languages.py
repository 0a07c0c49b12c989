"""Which language a text is in, by its script and by the little words that every sentence of a language holds.

Small on purpose: it answers for texts of a sentence or more and says nothing otherwise, so a row is never left out on a guess."""

from __future__ import annotations

import re
from collections import Counter

NAMES = {
    "ar": "Arabic", "cs": "Czech", "da": "Danish", "de": "German", "el": "Greek", "en": "English", "es": "Spanish",
    "fi": "Finnish", "fr": "French", "he": "Hebrew", "hi": "Hindi", "it": "Italian", "ja": "Japanese", "ko": "Korean",
    "nl": "Dutch", "pl": "Polish", "pt": "Portuguese", "ru": "Russian", "sv": "Swedish", "th": "Thai", "tr": "Turkish",
    "zh": "Chinese",
}  # fmt: skip
SCRIPTS = {  # of languages that are known by their letters; Cyrillic counts as Russian
    "el": r"\u0370-\u03ff", "ru": r"\u0400-\u04ff", "he": r"\u0590-\u05ff", "ar": r"\u0600-\u06ff", "hi": r"\u0900-\u097f",
    "th": r"\u0e00-\u0e7f", "ja": r"\u3040-\u30ff", "ko": r"\uac00-\ud7af", "zh": r"\u4e00-\u9fff",
}  # fmt: skip
WORDS = {
    "en": "the of and to in is that it for was on are with as his they at be this have from or had by not but what all were "
          "we when your can said there use an each which she how their if will up about out them then so some her would him",
    "de": "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es an werden aus er hat dass "
          "sie nach wird bei einer um am sind noch wie einem über so zum haben nur oder aber vor zur bis mehr durch wenn ich wir",
    "fr": "de la le et les des en un du une que est pour qui dans a par plus pas au sur ne se ce il sont avec mais ou nous "
          "vous je on cette comme été elle aux leur ses ont deux même ces si bien sans tout être quand où",
    "es": "de la que el en y a los se del las un por con no una su para es al lo como más pero sus le ya o este sí porque "
          "esta entre cuando muy sin sobre también me hasta hay donde quien desde todo nos durante todos uno les ni está",
    "it": "di e il la che in un a per è non una sono con si da del le dei come più al lo nel alla ma anche della gli ha ho "
          "questo se quando dove tutto ci molto loro essere dalla degli delle nella sul su o perché",
    "pt": "de a o que e do da em um para é com não uma os no se na por mais as dos como mas foi ao ele das tem à seu sua ou "
          "ser quando muito há nos já está eu também só pelo pela até isso ela entre era depois sem mesmo aos",
    "nl": "de van een het en in is dat op te zijn met voor die niet aan er om ook als door maar bij of uit naar dan nog "
          "wordt werd hij ik we wij over wat zo kan geen worden deze meer heeft had hebben waar wel tot haar ze",
    "sv": "och i att det som en på är av för med den till inte har de ett om var jag men sig så från vi kan du när han nu "
          "hon under också efter eller vid där alla mot blir skulle än bara vill hur upp ut",
    "da": "og i at det er en til på af den som med for der de ikke et har jeg var han du men sig vi fra eller om så kan hun "
          "blev efter når nu over også kun hvor hvad være havde vil skal ved",
    "fi": "ja on ei se että hän oli mutta ovat kun niin myös joka tai kuin ole jos vain sen mitä tämä voi olla hänen",
    "pl": "i w na z do że się nie to jest o jak po co tak za od ale jego przez by być dla ma przy są czy już tylko tego",
    "cs": "a se na je v že to s z do o i ve jsem jak ale by jako pro po za od si tak co když už jeho nebo jsou byl",
    "tr": "bir ve bu için da de ile çok ne o daha gibi kadar var ama en olarak değil mi sonra olan ki her ben",
}  # fmt: skip
KNOWN: dict[str, tuple[str, ...]] = {}
for _language, _words in WORDS.items():
    for _word in _words.split():
        KNOWN[_word] = (*KNOWN.get(_word, ()), _language)
SCRIPT = {language: re.compile(f"[{letters}]") for language, letters in SCRIPTS.items()}
WORD = re.compile(r"[^\W\d_]+")
LOOKED_AT = 3000  # characters of a text
MIN_LETTERS, MIN_HITS = 12, 3
MIN_LEAD = 1.3  # hits of the best language over those of the second


def find_language(text: str) -> str | None:
    """The code of a language (ISO 639-1), or None where the text is too short or too mixed to say."""
    text = text[:LOOKED_AT]
    letters = sum(len(word) for word in WORD.findall(text))
    if letters < MIN_LETTERS:
        return None
    counts = {language: len(pattern.findall(text)) for language, pattern in SCRIPT.items()}
    if counts["ja"] > 0.1 * counts["zh"]:  # Japanese writes in Chinese characters too
        counts["ja"], counts["zh"] = counts["ja"] + counts["zh"], 0
    language = max(counts, key=lambda name: counts[name])
    if counts[language] > letters / 2:
        return language
    return find_by_words(text)


def find_by_words(text: str) -> str | None:
    hits: Counter[str] = Counter()
    for word in WORD.findall(text.lower()):
        known = KNOWN.get(word, ())
        for language in known:
            hits[language] += 1 / len(known)  # type: ignore[assignment]
    best = hits.most_common(2)
    if not best or best[0][1] < MIN_HITS:
        return None
    return best[0][0] if len(best) == 1 or best[0][1] >= MIN_LEAD * best[1][1] else None
