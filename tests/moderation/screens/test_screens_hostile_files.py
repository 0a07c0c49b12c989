"""Every hostile file is refused under its own rule, and what looks like it but is honest passes."""

import time

import pytest

from moderation.screens import worst
from moderation.screens.gguf_check import BLOCKS
from moderation.screens.tokenizer_check import endless
from tests.moderation.screens.hostile import BENIGN, HOSTILE
from tests.moderation.screens.screened import rules, screen

FULL_ONLY = {"not_finite"}  # every number is read by the full screen


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_by_the_rule_that_names_it(name):
    make, rule = HOSTILE[name]
    started = time.monotonic()
    findings = screen(name, make(), quick=rule not in FULL_ONLY, budget_s=20.0)
    assert worst(findings) != "clear" and rule in rules(findings), findings
    refusal = next(finding for finding in findings if finding.rule == rule)
    assert refusal.severity != "info" and refusal.message.endswith(".") and len(refusal.excerpt) <= 120
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("name", BENIGN)
def test_an_honest_file_that_looks_like_a_hostile_one_is_clear(name):
    data = BENIGN[name]()
    assert worst(screen(name, data)) == worst(screen(name, data, quick=False)) == "clear", screen(name, data)


def test_the_sizes_of_quantized_blocks_are_those_of_the_reference():
    from gguf.constants import GGML_QUANT_SIZES

    assert {int(kind): size for kind, size in GGML_QUANT_SIZES.items()} == BLOCKS


@pytest.mark.parametrize(
    "pattern",
    [
        r"(.*)*x", r"([a-z]+\s?)*!", r"\s*\s*\s*\s*\s*\s*\s*\s*\s*x", r"((a{2,}){3,})", r"(?:(?:\w|\s)+,)*", r"(a?a)+$",
        r"(x{0,99999}){0,99999}", r"(((a|b)c)d)*", "a" * 5000, "(" * 60 + "a" + ")" * 60, r"(?<n>a)\k<n>", r"(?R)?",
    ],
)  # fmt: skip
def test_a_pattern_that_may_not_end_is_told(pattern):
    assert endless(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        r"\d{1,3}(?=(?:\d{3})*\b)", r"[一-龥぀-ゟ゠-ヿ]+", r" {2,}", r"(?:\r?\n)+(?!\r?\n)", "``|''", "[^]]+|[]]",
        r"\p{N}{1,3}(?=(\p{N}{3})+(?!\p{N}))", r"(?i:'s|'t)|[!-/:-~][A-Za-z]+|[^\r\n\p{L}\p{P}]?[\p{L}\p{M}]+", "", "([",
    ],
)  # fmt: skip
def test_a_pattern_of_an_ordinary_tokenizer_is_none_of_those(pattern):
    assert endless(pattern) == ""
