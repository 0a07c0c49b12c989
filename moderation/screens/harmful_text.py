"""Severe harm in text, by words and by what stands around them: triage for people, never a verdict.

Two layers. A lexical one looks for a few kinds of severe harm and looks away where the passage reports, prevents or
refuses it. The second is `alt-profanity-check`, a linear model over word counts that tells how coarse the language is;
its weights are a joblib pickle *inside the installed package*, so they are a dependency of ours that came with its
code, not something a contributor sent. Measured elsewhere on 575 human-labelled answers it misses 93 of 100 harmful
ones, so a clear result says little and is worded that way."""

import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from moderation.screens.findings import Finding, Severity, quote
from moderation.screens.text_reading import TextBlock, find_all, passage_around

WINDOW = 160  # characters on each side in which context counts
LINE_CHARACTERS = 20_000
SAMPLED_LINES = 4_000  # for the language model: 0.3 ms a line
OFFENSIVE_PROBABILITY = 0.9
OFFENSIVE_SHARE = 0.05
SHARE_LINES = 20  # a share of fewer lines says nothing


@dataclass(frozen=True)
class HarmRule:
    rule: str
    label: str
    severity: Severity
    pattern: re.Pattern[str]
    unless: re.Pattern[str]  # context that turns the passage into a report, a warning or help


def _rule(rule: str, label: str, severity: Severity, pattern: str, unless: str) -> HarmRule:
    return HarmRule(rule, label, severity, re.compile(pattern), re.compile(unless))


MINOR = (
    r"(?:\bchild(?:ren)?\b|\bkids?\b|\bminors?\b|\bunder-?age\b|\btoddlers?\b|\bpre-?teens?\b|\bschool(?:girl|boy)s?\b"
    r"|\blittle (?:girl|boy)s?\b|\b(?:[4-9]|1[0-7])[- ]years?[- ]old\b)"
)
SEXUAL = (
    r"(?:\bnudes\b|\b(?:nude|naked) (?:photo|pic|image|video|bod|selfie|child|girl|boy|kid)\w*"
    r"|\berotic\w*|\bporn\w*|\bsex with\b|\bsexual(?:ly)? (?:act|story|scene|content"
    r"|explicit)\w*"
    r"|\bseduc\w+|\bfondl\w+|\bgroom(?:ing|ed)? (?:a|the|her|him|them)\b)"
)
DEVICE = (
    r"(?:pipe ?bombs?|nail ?bombs?|car ?bombs?|fertili[sz]er bombs?|explosive devices?|\bieds?\b|molotov cocktails?"
    r"|nerve (?:agent|gas)|sarin|\bricin\b|weaponi[sz]ed anthrax|mustard gas|\bvx gas\b|ghost guns?"
    r"|dirty bombs?|napalm)"
)
HOW_TO = (
    r"(?:how (?:to|do i|can i|would i)|steps? (?:to|for|by)|instructions? (?:to|for|on)|recipe for|guide (?:to|for|on)"
    r"|tutorial (?:on|for)|teach me|tell me how|show me how|here(?:'s| is) how|help me|ingredients for)"
)
GROUP = (
    r"(?:jews|muslims|christians|hindus|blacks|black people|white people|asians|arabs|mexicans|immigrants|refugees"
    r"|gypsies|roma|gays|gay people|lesbians|transgender people|trans people|women|disabled people|foreigners)"
)
DEGRADED = (
    r"(?:vermin|subhumans?|sub-human|cockroaches|parasites|an inferior race|inferior by nature|a disease|a plague"
    r"|exterminated|gassed|wiped out|eradicated|put down|lynched|killed off|less than human)"
)
REPORT = (
    r"histor\w+|museum|treat(?:y|ies)|convention|prevent\w*|detect\w*|defus\w+|dispos\w+|surviv\w+|victims?|police"
    r"|arrest\w*|convict\w*|charged|sentenced|court|report(?:ed|s|ing|er)|news|novel|film|attack (?:in|on|of)"
    r"|banned|\blaws?\b"
    r"|illegal|unlawful|research on|stud(?:y|ies) (?:of|on)|propaganda|racis[mt]|hateful|false(?:ly)?|myth|wrong to"
    r"|i can(?:'t|not)|i won't|i will not|unable to|sorry|refus\w+|never|protect\w*|safeguard\w*|awareness|safety"
)
HELP = (
    r"hotline|helpline|988|lifeline|therap\w+|counsel\w+|prevent\w*|support|reach out|talk to|help is|don't"
    r"|do not|never"
    r"|warning signs|sorry|crisis|emergency|surviv\w+|report(?:ed|s|ing)"
)
RULES = (
    _rule("sexual_content_minors", "Sexual content about minors", "hold",
          f"{MINOR}[^.!?\n]{{0,60}}{SEXUAL}|{SEXUAL}[^.!?\n]{{0,60}}{MINOR}",
          REPORT + r"|abus\w+|offen[cs]e|health|education|paediatric\w*|pediatric\w*|breast"),
    _rule("weapon_instructions", "Instructions for a weapon of mass harm", "hold",
          f"{HOW_TO}[^.!?\n]{{0,60}}{DEVICE}", REPORT),
    _rule("self_harm_encouragement", "Encouragement to self-harm", "hold",
          r"\b(?:you (?:should|must|need to)|just|go|please|better) (?:go and )?(?:kill|hang|cut|hurt|drown) yourself\b"
          r"|\bkys\b|\b(?:best|easiest|painless|quickest) ways? to (?:kill|hurt|hang) (?:my|your)self\b"
          r"|\bhow (?:to|do i|can i) (?:commit suicide|kill myself|hurt myself|cut myself)\b"
          r"|\b(?:nobody|no one) would miss you\b[^.\n]{0,60}\b(?:die|end it|gone)\b", HELP),
    _rule("hate", "Dehumanising speech about a group", "hold",
          rf"\b(?:all |every |these |those |the )?{GROUP} (?:are|is|should(?: all)? be|must(?: all)? be|deserve to be"
          rf"|need to be|ought to be) (?:all |nothing but |just |like |a bunch of )?{DEGRADED}", REPORT),
    _rule("threat", "A threat of violence", "info",
          r"\bi(?:'ll| will| am going to|'m going to|'m gonna) (?:kill|shoot|stab|rape|murder|burn) "
          r"(?:you|him|her|them|your family)\b", r"novel|film|lyric|game|character|report\w*|court|chapter"),
    _rule("malware", "A request for malware or phishing", "info",
          r"\b(?:write|create|build|code|make|give me|help me|how to|develop)\b[^.!?\n]{0,50}"
          r"(?:ransomware|keyloggers?|botnets?|credential stealers?|rootkits?|phishing (?:page|e-?mails?|site|kit)s?"
          r"|computer virus|break into (?:\w+ ){0,3}(?:account|network|server|wi-?fi))",
          r"detect\w*|protect\w*|remov\w*|defen[cs]e|defend|analy\w+|awareness|prevent\w*|avoid|recogni\w+"
          r"|i can(?:'t|not)|sorry"),
    _rule("crime", "A request for help with a crime", "info",
          f"{HOW_TO}[^.!?\n]{{0,50}}(?:launder (?:\\w+ )?money|counterfeit|forge (?:a |an )?(?:\\w+ "
          f")?(?:passport|cheque|id)"
          r"|steal (?:a |an |someone's |my )?(?:\w+ )?(?:credit card|identity|car|packages?)|(?:cook|make"
          r"|synthesi[sz]e) (?:crystal )?"
          r"(?:meth|fentanyl)|shoplift\w*|hire a hitman|poison (?:my|a|the|someone))", REPORT),
    _rule("stalking", "A request to find or follow a person", "info",
          r"\b(?:find|get|track|tell me|give me|look up|read|discover)\b[^.!?\n]{0,40}(?:home address"
          r"|where (?:she|he|my ex) lives"
          r"|private (?:messages|number|photos)|her location|his location|(?:ex|neighbou?r|co-?worker"
          r"|girlfriend|wife)'s "
          r"(?:address|location|messages|password|phone))", REPORT + r"|my own|consent"),
)  # fmt: skip
# One cheap look before eight dear ones: a passage without any of these words cannot match a rule.
TRIGGERS = tuple(
    word.encode()
    for word in (
        "nude,naked,erotic,porn,sex ,sexual,seduc,fondl,groom,bomb,explosive, ied,molotov,nerve ,sarin,"
        "ricin,anthrax,mustard,vx gas,ghost gun,napalm,yourself,myself,kys,suicide,miss you,vermin,"
        "subhuman,sub-human,cockroach,parasite,inferior,a disease,plague,exterminat,gassed,wiped out,"
        "eradicat,put down,lynch,killed off,less than human,kill ,shoot ,stab ,rape ,murder ,burn ,"
        "ransomware,keylogger,botnet,stealer,rootkit,phishing,computer virus,break into,launder,"
        "counterfeit,forge ,steal ,meth,fentanyl,shoplift,hitman,poison ,address,lives,private ,location,"
        " messages, password, phone"
    ).split(",")
)


def find_harm(text: str) -> Iterator[tuple[HarmRule, str, int]]:
    """(rule, matched words, offset) for each rule that the text breaks, first place only."""
    lowered = text[:LINE_CHARACTERS].lower().replace("\u2019", "'")
    for rule in RULES:
        for match in rule.pattern.finditer(lowered):
            around = lowered[max(match.start() - WINDOW, 0) : match.end() + WINDOW]
            if not rule.unless.search(around):
                yield rule, match.group(), match.start()
                break


@dataclass
class HarmfulText:
    """Reads one file's blocks in order; every line is looked at, a spread sample also by the language model."""

    name: str
    sample: list[str] = field(default_factory=list)
    lines: int = 0
    stride: int = 1

    def find(self, block: TextBlock) -> Iterator[tuple[Finding, str]]:
        data = block.searchable
        end = 0
        for at in sorted(at for word in TRIGGERS for at in find_all(block.lowered, word)):
            if at >= max(end, block.fresh):
                start, end = passage_around(data, at)
                yield from self._judge(block, start, data[start:end].decode("utf-8", "replace"))
        for line in data[block.fresh :].split(b"\n"):
            self._keep(line)

    def _judge(self, block: TextBlock, start: int, text: str) -> Iterator[tuple[Finding, str]]:
        for rule, words, at in find_harm(text):
            offset = start + len(text[:at].encode())
            place = block.place(offset, offset + 1)
            what = f"{rule.label} may stand in {place.where}"
            message = f"{what}; a moderator reads it, or take the passage out."
            yield Finding("harmful_text", rule.rule, rule.severity, place.where, quote(words), message), words

    def _keep(self, line: bytes) -> None:
        """Every line at first, then every second, fourth, …: a spread sample in bounded memory."""
        self.lines += 1
        if len(line) > 8 and self.lines % self.stride == 0:
            self.sample.append(line[:1000].decode("utf-8", "replace"))
        if len(self.sample) >= SAMPLED_LINES:
            self.sample, self.stride = self.sample[::2], self.stride * 2

    def finish(self) -> Iterator[Finding]:
        share = offensive_share(self.sample)
        if share is not None and share >= OFFENSIVE_SHARE and len(self.sample) >= SHARE_LINES:
            what = f"About {share:.0%} of the lines read in {self.name} are coarse or insulting"
            message = f"{what} (triage by word counts); say so in the card, or take them out."
            yield Finding("harmful_text", "offensive_language", "info", self.name, f"{share:.0%} of lines", message)


@cache
def _load_model() -> Any:
    """The package's own predictor, or None where it cannot be loaded: the lexical layer then stands alone."""
    try:
        return importlib.import_module("profanity_check").predict_prob
    except Exception:  # a scikit-learn of another version breaks its pickle in many ways
        return None


def offensive_share(texts: list[str]) -> float | None:
    """Share of texts that the language model calls offensive; None without texts or without the model."""
    predict = _load_model() if texts else None
    if predict is None:
        return None
    return sum(float(value) >= OFFENSIVE_PROBABILITY for value in predict(texts)) / len(texts)
