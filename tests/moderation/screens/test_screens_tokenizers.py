"""Tables that the readers of formats go by, and which patterns of a tokenizer may not end."""

import pytest

from moderation.screens.gguf_check import BLOCKS
from moderation.screens.tokenizer_check import endless


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
