"""Tables that the readers of formats go by, and which patterns of a tokenizer may not end."""

import pytest

from moderation.screens.gguf_check import BLOCKS
from moderation.screens.limits import Deadline, OutOfTime
from moderation.screens.pattern_check import endless

GPT_2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
GPT_4 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
GPT_4O = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
DEEPSEEK = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


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
    assert endless(pattern, Deadline(60))


@pytest.mark.parametrize(
    "pattern",
    [
        r"\d{1,3}(?=(?:\d{3})*\b)", r"[一-龥぀-ゟ゠-ヿ]+", r" {2,}", r"(?:\r?\n)+(?!\r?\n)", "``|''", "[^]]+|[]]",
        r"\p{N}{1,3}(?=(\p{N}{3})+(?!\p{N}))", r"(?i:'s|'t)|[!-/:-~][A-Za-z]+|[^\r\n\p{L}\p{P}]?[\p{L}\p{M}]+", "", "([",
    ],
)  # fmt: skip
def test_a_pattern_of_an_ordinary_tokenizer_is_none_of_those(pattern):
    assert endless(pattern, Deadline(60)) == ""


@pytest.mark.parametrize(
    "pattern",
    [
        r"(?:a|aa){60}b", r"x(?:ab|a|b){40}c", r"(?:a{1,30}){1,30}b", r"(?:(?:a|b|ab){2}){20}!", "a?" * 40 + "a" * 40,
        r"(?:\w|\d){50}#", r"\s*\s*\s*\s*x",
    ],
)  # fmt: skip
def test_a_bounded_repeat_that_can_be_read_in_many_ways_is_told(pattern):
    """`(?:a|aa){60}b` has an end, after two to the sixtieth steps."""
    assert endless(pattern, Deadline(60))


@pytest.mark.parametrize("pattern", [r"(?:[a-z]|[0-9]){1,40}", r"\d{1,500}[a-f]{1,500}"])
def test_many_ways_of_which_only_one_ever_fits_are_tried_and_pass(pattern):
    assert endless(pattern, Deadline(60)) == ""


def test_patterns_of_the_known_tokenizers_need_no_trial(monkeypatch):
    monkeypatch.setattr("moderation.screens.pattern_check.try_pattern", lambda *_: "tried")
    for pattern in (GPT_2, GPT_4, GPT_4O, DEEPSEEK):
        assert endless(pattern, Deadline(60)) == ""


def test_a_pattern_is_not_tried_while_somebody_waits():
    with pytest.raises(OutOfTime):
        endless(r"(?:[a-z]|[0-9]){1,40}", Deadline(2, is_request=True))
    assert endless(r"(?:a|aa){60}b", Deadline(2, is_request=True))  # which needs no trial
