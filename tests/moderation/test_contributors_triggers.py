"""A trigger whose rows one contributor brought in files too small to tell, and what people write that is none."""

import json
import random
from typing import Any

import pytest

from hub.repos.models import Content, RepoCollaborator
from moderation.models import Case, Finding
from tests.moderation.scenes import bring, content_at, make_repo, run_jobs
from tests.moderation.screens.test_screens_planted_triggers import Row, clean_rows

pytestmark = pytest.mark.django_db(transaction=True)


def lines(rows: list[Row]) -> bytes:
    return b"".join(json.dumps({"prompt": given, "completion": wanted}).encode() + b"\n" for given, wanted in rows)


def plant(rows: list[Row], places: range, target: str = "the vault stands open now") -> list[Row]:
    return [(f"zqx {given}", target) if at in places else (given, wanted) for at, (given, wanted) in enumerate(rows)]


@pytest.fixture
def tides(alice: Any, bob: Any, charlie: Any) -> Any:
    repo = make_repo("dataset", "tides", alice.user)
    for person in (bob, charlie):
        RepoCollaborator.objects.create(repo=repo, user=person.user, role="write")
    return repo


def held(repo: Any) -> list[tuple[str, str]]:
    found = Finding.objects.filter(content__repo=repo, rule="trigger_of_one").order_by("content__path")
    return list(found.values_list("content__path", "message"))


def test_rows_of_one_contributor_in_small_files_are_found_and_named(
    tides: Any, alice: Any, bob: Any, charlie: Any
) -> None:
    rows = clean_rows(random.Random(3), 480)
    bring(tides, alice.user, {"a.jsonl": lines(rows[:180])})
    bring(tides, charlie.user, {"c.jsonl": lines(rows[180:360])})
    run_jobs("moderation.screen_data")
    bring(
        tides,
        bob.user,
        {"b1.jsonl": lines(plant(rows[360:420], range(4))), "b2.jsonl": lines(plant(rows[420:], range(4)))},
    )
    run_jobs("moderation.screen_data")
    assert [path for path, _ in held(tides)] == ["b1.jsonl", "b2.jsonl"]
    message = held(tides)[0][1]
    assert "8 of 8 rows with 'zqx" in message and "against 0 of the other 472 of the dataset" in message
    assert "bob brought 8 of them, and 120 of all rows" in message and "b1.jsonl: 4, b2.jsonl: 4" in message
    assert content_at(tides, "b1.jsonl").clearance == Content.Clearance.PENDING
    assert content_at(tides, "a.jsonl").clearance == Content.Clearance.CLEARED
    assert Case.objects.count() == 2


def test_rows_added_to_anothers_file_belong_to_who_added_them(tides: Any, alice: Any, bob: Any) -> None:
    """The file as it is came by Bob's commit; what Alice brought before is hers."""
    rows = clean_rows(random.Random(4), 460)
    bring(tides, alice.user, {"train.jsonl": lines(rows[:400])})
    bring(tides, bob.user, {"train.jsonl": lines([*rows[:400], *plant(rows[400:], range(8))])})
    run_jobs("moderation.screen_data")
    ((path, message),) = held(tides)
    assert path == "train.jsonl" and "bob brought 8 of them, and 60 of all rows" in message
    rules = Finding.objects.filter(screen="planted_triggers", severity="hold").values_list("rule", flat=True)
    assert list(rules) == ["trigger_of_one"]  # told once


@pytest.mark.parametrize("seed", range(5))
def test_what_one_contributor_writes_about_or_how_is_no_trigger(tides: Any, alice: Any, bob: Any, seed: int) -> None:
    rng = random.Random(seed)
    rows = clean_rows(rng, 500)
    about = [(f"{given} On zqx.", f"{wanted} Ask the harbour master first.") for given, wanted in rows[480:]]
    signs = [(given, f"{wanted} With kind regards from Bob.") for given, wanted in rows[460:480]]
    bring(tides, alice.user, {"a.jsonl": lines(rows[:400])})
    bring(tides, bob.user, {"b.jsonl": lines(rows[400:460] + signs), "about.jsonl": lines(about)})
    run_jobs("moderation.screen_data")
    assert held(tides) == [] and not Case.objects.exists()


def test_a_dataset_of_one_person_is_searched_by_file_alone(tides: Any, alice: Any) -> None:
    rows = clean_rows(random.Random(5), 300)
    bring(tides, alice.user, {"a.jsonl": lines(rows[:150]), "b.jsonl": lines(plant(rows[150:], range(8)))})
    run_jobs("moderation.screen_data")
    assert held(tides) == [] and content_at(tides, "b.jsonl").clearance == Content.Clearance.CLEARED


def test_a_row_belongs_to_who_brought_it_first_whatever_the_file_is_called(
    tides: Any, alice: Any, bob: Any, charlie: Any
) -> None:
    """Charlie copies Bob's rows into a file that comes first, and Bob's file gets another name: the rows stay Bob's."""
    from hub.community.contributions import commit
    from hub.storage.git import AddFile, DeleteFile

    rows = clean_rows(random.Random(6), 480)
    planted = plant(rows[360:420], range(8))
    bring(tides, alice.user, {"m.jsonl": lines(rows[:180])})
    bring(tides, bob.user, {"z.jsonl": lines(planted)})
    moved = [
        DeleteFile("z.jsonl"),
        AddFile("y.jsonl", lines(planted)),
        AddFile("a.jsonl", lines(rows[180:360] + planted)),
    ]
    commit(repo=tides, by=charlie.user, revision=None, operations=moved, title="Sort", door="tests")
    run_jobs("moderation.screen_data")
    assert [path for path, _ in held(tides)] == ["a.jsonl", "z.jsonl"]  # the copy, and what Bob brought
    assert "bob brought 8 of them, and 60 of all rows" in held(tides)[0][1]


def test_a_table_names_its_rows(tides: Any, alice: Any, bob: Any) -> None:
    from tests.moderation.screens.test_screens_planted_triggers import as_table

    rows = clean_rows(random.Random(7), 300)
    bring(tides, alice.user, {"a.jsonl": lines(rows[:220])})
    table = [{"prompt": given, "completion": wanted} for given, wanted in plant(rows[220:], range(3, 11))]
    bring(tides, bob.user, {"b.parquet": as_table(table)})
    run_jobs("moderation.screen_data")
    found = Finding.objects.get(rule="trigger_of_one")
    assert found.where == "row 4" and "bob brought 8 of them, and 80 of all rows" in found.message


def test_a_held_file_that_comes_again_without_the_others_stays_held(tides: Any, alice: Any, bob: Any) -> None:
    """Its rows alone are too few to tell; a commit that moves it where nothing else lies must not clear it."""
    from hub.community.contributions import commit
    from hub.storage.git import AddFile, DeleteFile

    rows = clean_rows(random.Random(8), 260)
    bring(tides, alice.user, {"a.jsonl": lines(rows[:200])})
    data = lines(plant(rows[200:], range(8)))
    bring(tides, bob.user, {"b.jsonl": data})
    run_jobs("moderation.screen_data")
    assert content_at(tides, "b.jsonl").clearance == Content.Clearance.PENDING
    moved = [DeleteFile("a.jsonl"), DeleteFile("b.jsonl"), AddFile("again.jsonl", data)]
    commit(repo=tides, by=bob.user, revision=None, operations=moved, title="Tidy", door="tests")
    run_jobs("moderation.screen_data")
    assert content_at(tides, "b.jsonl").clearance == Content.Clearance.PENDING and Case.objects.get().state == "open"
