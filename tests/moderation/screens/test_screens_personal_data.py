import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation.screens import worst
from moderation.screens.benchmark import complete_luhn
from moderation.screens.personal_data import has_issuer, is_iban, passes_luhn
from tests.moderation.screens.screened import VALUES, only, rules, screen


@given(st.text("0123456789", min_size=12, max_size=18), st.integers(1, 9))
def test_luhn_accepts_the_right_check_digit_and_no_other(digits, wrong_by):
    good = complete_luhn(digits)
    assert passes_luhn(good.encode())
    assert not passes_luhn((good[:-1] + str((int(good[-1]) + wrong_by) % 10)).encode())


@pytest.mark.parametrize(
    "iban",
    [  # the examples of the IBAN registry
        "DE89370400440532013000", "GB29NWBK60161331926819", "FR1420041010050500013M02606", "NO9386011117947",
        "MT84MALT011000012345MTLCAST001S", "BE68539007547034", "CH9300762011623852957", "PL61109010140000071219812874",
    ],
)  # fmt: skip
def test_registry_examples_are_ibans_and_one_changed_digit_is_none(iban):
    assert is_iban(iban.encode())
    swapped = iban[:-1] + ("1" if iban[-1] != "1" else "2")
    assert not is_iban(swapped.encode())


def test_issuer_ranges_know_the_networks_lengths():
    assert has_issuer(b"4539148803436467") and has_issuer(b"378282246310005") and has_issuer(b"2720990000000007")
    assert not has_issuer(b"2721000000000000") and not has_issuer(b"37828224631000") and not has_issuer(b"9" * 16)


def test_a_card_number_as_people_write_it_is_never_public():
    finding = only(screen("a.txt", f"my card is\n{VALUES['visa_spaced']}, thanks".encode()))
    assert (finding.rule, finding.severity, finding.where) == ("card_number", "block", "a.txt:2")
    assert finding.excerpt.startswith("45…")


def test_the_name_of_the_column_says_that_a_number_is_a_card():
    data = f"customer,credit card\nA. Miller,{VALUES['visa_bare']}\n".encode()
    finding = only(screen("a.csv", data))
    assert finding.severity == "block" and finding.where == "a.csv:2, column credit card"


def test_a_column_of_sixteen_digit_identifiers_is_no_column_of_cards():
    rng = random.Random(3)
    rows = "\n".join(f"{n},4{rng.randrange(10**14, 10**15)}" for n in range(2000))
    assert screen("ids.csv", f"row,identifier\n{rows}\n".encode()) == []


def test_a_column_of_unnamed_numbers_that_all_pass_is_held():
    rows = "\n".join(f"{n},{VALUES['visa_bare']}" for n in range(40))
    findings = screen("ids.csv", f"row,value\n{rows}\n".encode())
    assert rules(findings) == {"card_number_shape"} and worst(findings) == "hold"


def test_test_cards_wait_for_a_person():
    assert only(screen("a.md", b"Try it with 4242 4242 4242 4242.")).rule == "test_card_number"


def test_ibans_and_social_security_numbers_are_held():
    assert only(screen("a.txt", f"to {VALUES['iban_de_spaced']} please".encode())).rule == "iban"
    row = json.dumps({"name": "A. Miller", "ssn": VALUES["ssn"]}).encode()
    finding = only(screen("people.jsonl", row))
    assert (finding.rule, finding.severity, finding.where) == ("ssn", "hold", "row 1, column ssn")


def test_numbers_the_administration_never_gave_out_are_no_finding():
    assert screen("a.txt", b"SSN 000-12-3456, SSN 666-12-3456, SSN 912-34-5678, SSN 123-00-4567") == []


def test_a_few_addresses_are_shown_and_a_contact_list_is_held():
    few = b"\n".join(b"write to jane.doe%d@harbour.org" % n for n in range(3))
    assert screen("a.txt", few) == []
    assert only(screen("a.txt", few, quick=False)).severity == "info"
    rows = [json.dumps({"mail": f"p{n}@harbour.org", "phone": f"202-555-01{n:02}"}) for n in range(40)]
    assert only(screen("list.jsonl", "\n".join(rows).encode())).rule == "contact_list"


def test_many_addresses_are_held_and_a_big_corpus_with_some_is_not():
    addresses = "\n".join(f"p{n}@harbour.org" for n in range(150))
    assert only(screen("a.txt", addresses.encode())).rule == "bulk_emails"
    assert screen("corpus.txt", (addresses + "\nthe tide comes in" * 20_000).encode()) == []


def test_addresses_of_nobody_do_not_count():
    nobody = "\n".join(f"user{n}@example.com, info@harbour{n}.org" for n in range(300))
    assert screen("a.txt", nobody.encode()) == []
