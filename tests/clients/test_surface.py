"""No part of the stock client's surface is forgotten, and docs/hf_api.md says what the tests prove."""

import re

import pytest

from tests.clients.hf_api_table import DOCUMENT
from tests.clients.surface import OUT_OF_SCOPE, Row, build_rows, is_proved, list_claims, write_document


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return [row for some in build_rows().values() for row in some]


def test_every_method_and_command_is_proved_or_out_of_scope_for_a_reason(rows: list[Row]):
    assert [row.name for row in rows if row.state == "unaccounted"] == []


def test_no_test_claims_what_there_is_not_or_never_calls(rows: list[Row]):
    known = {row.name for row in rows}
    for name, test in list_claims():
        assert name in known, f"{test.name} covers {name}, which this client does not have"
        how = "refused" if test.is_refusal else "with success"
        assert is_proved(test, name), f"{test.path}: {test.name} covers {name}, and never calls it {how}"


def test_no_reason_outlives_what_it_excuses(rows: list[Row]):
    for pattern in OUT_OF_SCOPE:
        assert any(re.fullmatch(pattern, row.name) and not row.tests for row in rows), f"{pattern} is proved by now"


def test_the_document_is_up_to_date():
    assert DOCUMENT.read_text() == write_document(), "run: python -m tests.clients.hf_api_table"
