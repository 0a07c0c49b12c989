"""Texts that still carry the marks of some model's chat template, as exports do, and how to take them apart.

A model that learns such a row learns to write the marks of another model into its answers."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Template:
    name: str
    mark: re.Pattern[str]  # matches where a turn begins; its group "role" says whose
    noise: re.Pattern[str]  # what belongs to no turn
    roles: dict[str, str]


USER_WORDS = dict.fromkeys(("user", "human", "instruction", "input", "question", "prompter"), "user")
ANSWER_WORDS = dict.fromkeys(("assistant", "model", "response", "output", "answer", "gpt", "bot"), "assistant")
ROLES = {**USER_WORDS, **ANSWER_WORDS, "system": "system"}
NOTHING = re.compile(r"(?!)")
# The first whose mark is found counts, so the unmistakable ones come first.
TEMPLATES = (
    Template("ChatML", re.compile(r"<\|im_start\|>(?P<role>\w+)\n?"), re.compile(r"<\|im_end\|>\n?"), ROLES),
    Template("Llama 3", re.compile(r"<\|start_header_id\|>(?P<role>\w+)<\|end_header_id\|>\n*"),
             re.compile(r"<\|(?:eot_id|begin_of_text|end_of_text)\|>"), ROLES),
    Template("Gemma", re.compile(r"<start_of_turn>(?P<role>\w+)\n?"), re.compile(r"<end_of_turn>\n?|<bos>|<eos>"), ROLES),
    Template("Llama 2 or Mistral", re.compile(r"(?P<role>\[/?INST\])\s*"), re.compile(r"</?s>|<</?SYS>>"),
             {"[inst]": "user", "[/inst]": "assistant"}),
    Template("Zephyr", re.compile(r"<\|(?P<role>system|user|assistant)\|>\n?"), re.compile(r"</s>"), ROLES),
    Template("Alpaca", re.compile(r"(?:\A|(?<=\n))###? ?(?P<role>Instruction|Input|Response|Output|Human|Assistant|System|User):[ \n]*"),
             re.compile(r"Below is an instruction that describes a task[^\n]*\n*|</s>|<\|endoftext\|>"), ROLES),
)  # fmt: skip


def find_template(text: str) -> Template | None:
    """The template whose marks stand in a text; None for the text of people."""
    return next((template for template in TEMPLATES if template.mark.search(text)), None)


def take_apart(text: str) -> list[tuple[str, str]]:
    """[(role, words), ...] of a text that holds a conversation; [] when it carries no marks."""
    template = find_template(text)
    if template is None:
        return []
    marks = list(template.mark.finditer(text))
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    turns: list[tuple[str, str]] = []
    for mark, end in zip(marks, ends, strict=True):
        role = template.roles.get(mark.group("role").lower(), "")
        words = template.noise.sub("", text[mark.end() : end]).strip()
        if role and words and turns and turns[-1][0] == role:  # an instruction and its input are one question
            turns[-1] = (role, f"{turns[-1][1]}\n\n{words}")
        elif role and words:
            turns.append((role, words))
    return turns


def strip_marks(text: str) -> str:
    """One turn without the marks around it."""
    template = find_template(text)
    if template is None:
        return text
    return template.noise.sub("", template.mark.sub("", text)).strip()
