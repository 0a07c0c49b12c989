"""Instructions to a model in data and cards, where nobody asked for any: signals for a reviewer, never a refusal.

A row is learnt from and a card is read by assistants, so what addresses "the AI" in either may be meant for it. The
patterns are those of public collections of injections, narrow on purpose: a text that speaks *about* them, and data
whose task they are (many rows of it), are said in one line or not at all. Source: https://arxiv.org/abs/2302.12173,
OWASP LLM01."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from moderation.screens.findings import Finding, quote
from moderation.screens.text_reading import TextBlock, find_all, passage_around

WINDOW = 200  # characters on each side in which a text says what it speaks about
TASK_LINES, TASK_SHARE = 20, 0.02  # so many lines, and this share of them: the data is about it
REMEMBERED = 40  # findings kept until the whole file tells


@dataclass(frozen=True)
class Signal:
    rule: str
    what: str  # half sentence behind "PLACE …"
    pattern: re.Pattern[str]


MODEL = (
    r"(?:ai|llms?|language models?|ai (?:assistants?|models?|agents?)|chatbots?|chatgpt|gpt-?\d?|claude|gemini|copilot)"
)
ORDERS = r"(?:instructions?|prompts?|directions?|directives|guidelines|rules|commands|system (?:prompt|message)s?)"
EARLIER = r"(?:previous|prior|above|preceding|earlier|existing|original|former|foregoing)"
SIGNALS = (
    Signal("overrides_instructions", "tells a model to forget its instructions", re.compile(
        rf"\b(?:ignore|disregard|forget|do not follow)\b (?:\w+ ){{0,3}}?{EARLIER} (?:\w+ )?{ORDERS}\b"
        rf"|\b(?:ignore|disregard|forget|override|bypass) (?:all )?(?:of )?(?:your|the) {ORDERS}(?: (?:above|before|you were given))?\b"
        r"|\b(?:ignore|disregard|forget) (?:everything|all|anything) (?:above|before this|you (?:were|have been) told)\b"
        r"|\b(?:ignoriere|vergiss|missachte) (?:bitte )?alle (?:vorherigen|bisherigen|obigen|vorigen) (?:anweisungen|regeln)"
        r"|\bigno(?:re|rez|rer) (?:toutes )?les (?:instructions|consignes) (?:pr[ée]c[ée]dentes|ci-dessus|ant[ée]rieures)"
        r"|\bignor[ae] (?:todas )?(?:las|as) (?:instrucciones|instru[çc][õo]es) (?:anteriores|previas|acima)"
        r"|\bignora (?:tutte )?le istruzioni (?:precedenti|sopra)"
        r"|(?:игнорируй|забудь)(?:те)? (?:все )?(?:предыдущие|прежние) (?:инструкции|указания)"
        r"|忽略(?:之前|以上|前面|上述)的?(?:所有|全部)?的?(?:指令|指示|说明|提示)|(?:これまで|上記|以前)の指示を?(?:すべて|全て)?(?:を)?無視")),
    Signal("addresses_a_model", "speaks to the model that reads it", re.compile(
        rf"\bif you(?: are|'re) (?:an? )?(?:\w+ )?{MODEL}\b[^.!?\n]{{0,80}}\b(?:you must|must|ignore|do not|always|instead|say"
        r"|include|insert|mention|rate|recommend|write|output|reply|respond)\b"
        rf"|\b(?:note|attention|message|instructions?|notice|important) (?:to|for) (?:all |any |the )?{MODEL}\b[^.\n]{{0,12}}:"
        r"|\bgive (?:a |an )?(?:only )?(?:positive|favou?rable) reviews? only\b|\bdo not highlight any negatives\b")),
    Signal("hides_from_user", "tells a model to keep something from the user", re.compile(
        r"\b(?:do not|don't|never) (?:tell|inform|mention (?:this |it )?to|reveal (?:this |it )?to|show (?:this |it )?to|let|warn"
        r"|alert) the user\b(?: (?:about|of|that|know|see))?|\bwithout (?:telling|informing|notifying|alerting) the user\b")),
    Signal("asks_for_secrets", "asks a model for its instructions or to send something away", re.compile(
        r"\b(?:reveal|print|repeat|output|leak|display|show(?: me)?) (?:\w+ ){0,2}?(?:your|the) (?:\w+ )?"
        r"(?:system prompt|system message|hidden (?:prompt|instructions)|initial (?:prompt|instructions))\b"
        r"|\b(?:send|post|upload|forward|exfiltrate|append|encode) (?:\w+ ){0,6}?(?:conversation|chat history|api keys?|passwords?"
        r"|credentials|cookies|secrets|user'?s? data|environment variables)\b[^.\n]{0,40}\b(?:to|at|into) (?:https?://|\w+@)")),
    Signal("sets_free", "tells a model that its rules are off", re.compile(
        r"\byou are now (?:in )?(?:dan\b|jailbroken|unrestricted|developer mode|god mode|free (?:of|from) (?:all |any )?"
        r"(?:rules|restrictions))|\b(?:enter|enable|activate) (?:developer|dan|god|jailbreak) mode\b")),
)  # fmt: skip
# One cheap look before five dear ones.
TRIGGERS = tuple(
    word.encode()
    for word in (
        "ignore ,ignore\xa0,disregard,forget ,override,bypass ,not follow,ignoriere,vergiss,missachte,ignorez,ignorer,ignora ,"
        "гнорируй,абудь,忽略,無視,if you are a,if you're a,you are ai,you are llm,note to ,note for ,attention ,message to ,"
        "message for ,instructions to ,instructions for ,instruction to ,instruction for ,notice to ,important for ,"
        "important to ,positive review,favorable review,favourable review,any negatives,the user,system prompt,system message,"
        "hidden prompt,hidden instruction,initial prompt,initial instruction,http,you are now,developer mode,dan mode,god mode,"
        "jailbreak mode"
    ).split(",")
)
LINK = b"http"  # stands nearly everywhere; what sends something there names what it sends
SENT = re.compile(
    rb"conversation|chat history|api key|password|credential|cookies|secrets|user'?s? data|environment var"
)
ABOUT = re.compile(
    r"prompt[- ]?injection|jailbreak|red[- ]team|adversarial|attack(?:ers?|s|ed)?\b|phishing|malicious|vulnerab\w+|owasp|security"
    r"|(?:such as|like|says?|phrase|words?|example|e\.g\.|called|titled?)[:,]? [\"'“‘«`]"
)


def find_instructions(text: str) -> Iterator[tuple[Signal, str, int]]:
    """(signal, matched words, offset), the first place of each signal; nothing where the text speaks about them."""
    lowered = text.lower().replace("\u2019", "'")
    for signal in SIGNALS:
        match = signal.pattern.search(lowered)
        if match and not ABOUT.search(lowered[max(match.start() - WINDOW, 0) : match.end() + WINDOW]):
            yield signal, match.group(), match.start()


@dataclass
class Instructions:
    """Reads one file's blocks in order; what it found is told at the end, when it is known whether it is the task."""

    name: str
    lines: int = 0
    lines_found: int = 0
    kept: list[tuple[Finding, str]] = field(default_factory=list)

    def find(self, block: TextBlock) -> None:
        """Raises nothing and keeps at most `REMEMBERED` findings."""
        data = block.searchable
        self.lines += data.count(b"\n", block.fresh) + 1
        end = 0
        for at in sorted(at for word in TRIGGERS for at in find_all(block.lowered, word, block.fresh)):
            if at < end:
                continue
            start, stop = passage_around(data, at)
            if block.lowered.startswith(LINK, at) and not SENT.search(block.lowered, start, stop):
                continue
            end = stop
            self._judge(block, start, data[start:stop].decode("utf-8", "replace"))

    def _judge(self, block: TextBlock, start: int, text: str) -> None:
        found = list(find_instructions(text))
        self.lines_found += bool(found)
        for signal, words, at in found:
            if len(self.kept) >= REMEMBERED:
                return
            offset = start + len(text[:at].encode())
            place = block.place(offset, offset + 1)
            mend = "a reviewer should know it: take it out, or say in the card why it is there."
            message = f"{place.where} {signal.what}: “{quote(words)}”; {mend}"
            self.kept.append(
                (Finding("prompt_injection", signal.rule, "info", place.where, quote(words), message), words)
            )

    def finish(self) -> Iterator[tuple[Finding, str]]:
        if self.lines_found >= TASK_LINES and self.lines_found >= TASK_SHARE * self.lines:
            what = f"About {self.lines_found:,} of {self.lines:,} lines of {self.name} hold instructions to a model"
            message = f"{what}, as data about injections does; say in the card whether models should obey them."
            count = f"{self.lines_found:,} of {self.lines:,} lines"
            yield Finding("prompt_injection", "many_instructions", "info", self.name, count, message), ""
            return
        yield from self.kept
