"""The licence of a release against those of everything it was made of, near and far."""

from typing import Any

import pytest

from hub.common.errors import Conflict
from moderation import gate
from moderation.releasing.releases import propose_release
from moderation.screens.licence_terms import TABLE, may_follow, named_licences, why_not_follow
from tests.moderation.scenes import CONFIG, Workshop, bring, make_repo, weights

pytestmark = pytest.mark.django_db(transaction=True)


def card(licence: str, more: str = "") -> bytes:
    return f"---\nlicense: {licence}\n{more}---\n# Tides\n".encode()


def licence_of(workshop: Workshop) -> Any:
    workshop.model.refresh_from_db()
    return next(item for item in gate.inspect(workshop.model, workshop.model.head) if item.name == "licence")


def pinned(workshop: Workshop, name: str, licence: str) -> None:
    """The pinned revision of an input gets this card, as if it had been there from the beginning."""
    from training.models import Run

    repo = getattr(workshop, name)
    repo.refresh_from_db()
    before = repo.head
    bring(repo, repo.owner_user, {"README.md": card(licence)})
    repo.refresh_from_db()
    run = Run.objects.get()
    run.result = {**run.result, "lock": run.result["lock"].replace(before, repo.head)}
    run.save()


def test_what_speaks_against_no_licence_passes_and_is_counted(releasable: Workshop) -> None:
    found = licence_of(releasable)
    assert found.state == "passed" and "the 2 repositories that it was made of" in found.sentence  # the suite is none
    assert {row["repository"] for row in found.evidence["origins"]} == {"alice/base", "charlie/tide-rows"}


@pytest.mark.parametrize(
    ("above", "own", "state", "words"),
    [
        ("cc-by-nc-4.0", "apache-2.0", "failed", "alice/base is under cc-by-nc-4.0, which forbids commercial use, and the card "
         "names apache-2.0; name cc-by-nc-4.0 or another that forbids it in the card, or start from another model."),
        ("cc-by-nc-4.0", "cc-by-nc-4.0", "passed", "2 repositories"),
        ("cc-by-nc-4.0", "cc-by-nc-sa-4.0", "passed", "2 repositories"),
        ("cc-by-nc-4.0", "my-own-terms", "warning", "forbids commercial use, and the card names my-own-terms"),
        ("cc-by-sa-4.0", "apache-2.0", "failed", "name cc-by-sa-4.0 or gpl-3.0 in the card"),
        ("cc-by-sa-3.0", "cc-by-sa-4.0", "passed", "2 repositories"),
        ("cc-by-nd-4.0", "cc-by-nd-4.0", "failed", "forbids that changed versions are passed on"),
        ("gpl-3.0-or-later", "GPL-3.0", "passed", "2 repositories"),
        ("llama3.1", "apache-2.0", "failed", "asks that its restrictions of use and its text go along"),
        ("llama3.1", "llama3.1", "passed", "2 repositories"),
        ("other\nlicense_name: llama3.1", "mit", "failed", "alice/base is under llama3.1"),
        ("creativeml-openrail-m", "mit", "failed", "name creativeml-openrail-m in the card"),
        ("somebodys-terms", "mit", "warning", "alice/base is under somebodys-terms, of which this hub knows nothing"),
        ("somebodys-terms", "somebodys-terms", "passed", "2 repositories"),
        ("[mit, gpl-3.0]", "apache-2.0", "passed", "2 repositories"),
        ('""', "apache-2.0", "warning", "alice/base names no licence"),
    ],
)  # fmt: skip
def test_the_licence_of_the_base_model(releasable: Workshop, above: str, own: str, state: str, words: str) -> None:
    pinned(releasable, "base", above)
    bring(releasable.model, releasable.owner, {"README.md": card(own)})
    found = licence_of(releasable)
    assert (found.state, words in found.sentence) == (state, True), found.sentence


def test_a_base_that_forbids_it_stops_the_release_with_its_sentence(releasable: Workshop) -> None:
    pinned(releasable, "base", "cc-by-nc-4.0")
    with pytest.raises(Conflict, match=r"alice/base is under cc-by-nc-4\.0"):
        propose_release(repo=releasable.model, by=releasable.owner, version="1.0.0")


def test_data_that_asks_for_more_is_told_to_who_approves(releasable: Workshop) -> None:
    pinned(releasable, "data", "cc-by-sa-4.0")
    found = licence_of(releasable)
    assert found.state == "warning"
    assert (
        "charlie/tide-rows is under cc-by-sa-4.0, which asks that what is made from it has the same licence, as far as"
        in (found.sentence)
    )
    assert "or leave it out and train again." in found.sentence


def test_the_licence_of_a_base_of_a_base_counts(releasable: Workshop) -> None:
    """The base was brought, and its card says what it was made of."""
    root = make_repo("model", "root", releasable.owner, {"README.md": card("cc-by-nc-4.0")})
    more = f"base_model: {root.full_name}\ndatasets: [{releasable.data.full_name}]\n"
    pinned(releasable, "base", f"apache-2.0\n{more}".rstrip())
    found = licence_of(releasable)
    assert found.state == "failed"
    assert found.sentence.startswith(
        "alice/root (through alice/base) is under cc-by-nc-4.0, which forbids commercial use"
    )


def test_a_lineage_that_is_longer_than_what_is_compared_says_so(
    releasable: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_repo("model", "root", releasable.owner, {"README.md": card("cc-by-nc-4.0")})
    pinned(releasable, "base", "apache-2.0\nbase_model: alice/root")
    assert licence_of(releasable).state == "failed"
    monkeypatch.setattr("moderation.gate.licences.MAX_DEPTH", 0)
    found = licence_of(releasable)
    assert found.state == "warning" and "Only the nearest" in found.sentence


def test_a_private_origin_is_not_named(releasable: Workshop) -> None:
    from hub.repos.models import Repo

    pinned(releasable, "data", "cc-by-nc-4.0")
    Repo.objects.filter(pk=releasable.data.pk).update(is_private=True)
    found = licence_of(releasable)
    assert found.sentence.startswith("a private dataset is under cc-by-nc-4.0") and "tide-rows" not in repr(found)


def test_the_data_of_a_run_that_made_the_base_counts(releasable: Workshop) -> None:
    """A second model begins with the one that a run of this hub made from Charlie's rows."""
    pinned(releasable, "data", "cc-by-nc-4.0")
    releasable.model.refresh_from_db()
    name = releasable.model.full_name
    files = {"config.json": CONFIG, "model.safetensors": weights(1), "README.md": card("mit", f"base_model: {name}\n")}
    from hub.repos.models import Repo

    Repo.objects.filter(pk=releasable.model.pk).update(public_head=releasable.model.head)  # as after its release
    second = make_repo("model", "second", releasable.owner, files)
    found = next(item for item in gate.inspect(second, second.head) if item.name == "licence")
    assert f"charlie/tide-rows (through {name}) is under cc-by-nc-4.0" in found.sentence and found.state == "warning"


def test_a_deleted_base_is_said(releasable: Workshop) -> None:
    from hub.repos.lifecycle import delete_repo

    delete_repo(repo=releasable.base, by=releasable.owner)
    found = licence_of(releasable)
    assert found.state == "warning" and "alice/base was deleted, so nobody can read its licence" in found.sentence


def test_models_that_name_each_other_as_their_base_come_to_an_end(releasable: Workshop) -> None:
    first = make_repo("model", "first", releasable.owner, {"README.md": card("mit", "base_model: alice/other\n")})
    make_repo("model", "other", releasable.owner, {"README.md": card("mit", "base_model: alice/first\n")})
    found = next(item for item in gate.inspect(first, first.head) if item.name == "licence")
    assert found.state == "passed" and "the 1 repository" in found.sentence


def test_every_row_of_the_table_has_a_source_and_agrees_with_itself() -> None:
    assert len({terms.name for terms in TABLE}) == len(TABLE)
    for terms in TABLE:
        assert terms.source and terms.name == terms.name.lower()
        assert bool(why_not_follow(terms.name, terms.name)) == (not terms.is_changeable), terms.name
        assert terms.name in (terms.passes_to or {terms.name})
    assert may_follow("mit") == "" and named_licences({"license": ["MIT", "mit"]}) == ["mit"]
