"""Leaderboards through the unmodified client: what models say in .eval_results, ranked, and only what one may read."""

import pytest
import yaml
from django.test import Client
from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from hub.community.eval_results import parse_file
from hub.community.social_models import EvalResult
from hub.repos.deleted import remove_repo
from hub.repos.lifecycle import create_repo, delete_repo, move_repo
from tests.hub.scenes import add, decide, make_repo

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def bench(alice, cleared_at_once):
    return make_repo(alice.user, "bench")


def results(*values, dataset="alice/bench", task="default", **more):
    """The text of a file as people make it with the client."""
    entries = [EvalResultEntry(dataset_id=dataset, task_id=task, value=value, **more) for value in values]
    return yaml.dump(eval_result_entries_to_yaml(entries))


def model(owner, name, *values, card="", **more):
    """A model whose head holds a file of results."""
    repo = make_repo(owner, name, type="model", **({"is_private": True} if more.pop("is_private", False) else {}))
    files = {".eval_results/bench.yaml": results(*values, **more)}
    add(repo, owner, files | ({"README.md": f"---\n{card}\n---\n"} if card else {}))
    repo.refresh_from_db()
    return repo


def shown(entries):
    return [(entry.rank, entry.model_id, entry.value) for entry in entries]


def test_models_are_ranked_by_what_they_say(client_of, bench, alice, bob, organization):
    model(alice.user, "small", 20.5, 19)
    model(bob.user, "large", 41, notes="no tools", source_url="https://logs.example/1", source_name="Logs")
    ours = create_repo(type="model", name="ours", by=alice.user, owner=organization)
    add(ours, alice.user, {".eval_results/a.yaml": results(20.5, dataset="Alice/Bench")})
    model(bob.user, "tuned", 50, card="base_model: bob/large")
    client = client_of(None)
    board = client.get_dataset_leaderboard("alice/bench")
    assert shown(board) == [(1, "bob/large", 41.0), (2, "alice/small", 20.5), (2, "tidewatch/ours", 20.5)]
    first, _, last = board
    assert (first.author.username, first.author.fullname, last.author.name) == ("bob", "Bob", "tidewatch")
    assert first.source == {"url": "https://logs.example/1", "name": "Logs", "isExternal": True}
    assert (first.notes, first.filename, first.verified) == ("no tools", ".eval_results/bench.yaml", False)
    assert (board[1].source, board[1].notes, board[1].pull_request) == (None, None, None)
    whole = client.get_dataset_leaderboard("alice/bench", base_model_only=False)
    assert shown(whole)[0] == (1, "bob/tuned", 50.0) and len(whole) == 4


def test_the_board_follows_the_head_of_each_model(client_of, bench, alice, bob):
    large, client = model(bob.user, "large", 41), client_of(None)
    add(large, bob.user, {".eval_results/bench.yaml": results(43)})
    assert shown(client.get_dataset_leaderboard("alice/bench")) == [(1, "bob/large", 43.0)]
    move_repo(repo=bench, to="alice/harder-bench", by=alice.user)
    assert len(client.get_dataset_leaderboard("alice/harder-bench")) == 1  # under the name it was tested by
    add(large, bob.user, {"README.md": "# Large\n"})
    assert len(client.get_dataset_leaderboard("alice/bench")) == 1
    add(large, bob.user, {".eval_results/bench.yaml": None})
    with pytest.raises(HfHubHTTPError, match="has no leaderboard") as refusal:
        client.get_dataset_leaderboard("alice/bench")
    assert refusal.value.response.status_code == 404
    other = model(bob.user, "other", 1)
    delete_repo(repo=other, by=bob.user)
    with pytest.raises(HfHubHTTPError, match="has no leaderboard"):
        client.get_dataset_leaderboard("alice/bench")
    remove_repo(repo=other, by=bob.user)
    assert not EvalResult.objects.exists()


@pytest.mark.covers("HfApi.get_dataset_leaderboard")
def test_strangers_see_results_of_cleared_content_of_models_they_may_read(client_of, bench, alice, bob, charlie):
    public = model(alice.user, "open", 3)
    model(alice.user, "secret", 9, is_private=True)
    assert [name for _, name, _ in shown(client_of(None).get_dataset_leaderboard("alice/bench"))] == ["alice/open"]
    mine = client_of(alice).get_dataset_leaderboard("alice/bench")
    assert shown(mine) == [(1, "alice/secret", 9.0), (2, "alice/open", 3.0)]
    decide(public, "withheld", ".eval_results/bench.yaml", reason="It holds a key.")
    with pytest.raises(HfHubHTTPError):
        client_of(None).get_dataset_leaderboard("alice/bench")
    decide(public, "cleared", ".eval_results/bench.yaml")
    assert len(client_of(charlie).get_dataset_leaderboard("alice/bench")) == 1
    hidden = make_repo(alice.user, "hidden-bench", is_private=True)
    for name in (hidden.full_name, "alice/missing"):
        with pytest.raises(RepositoryNotFoundError):
            client_of(charlie).get_dataset_leaderboard(name)


def test_what_another_head_left_behind_counts_no_more(client_of, bench, bob):
    """Whatever event was lost: rows speak only for the head that they were read at."""
    large = model(bob.user, "large", 41)
    type(large).objects.filter(pk=large.pk).update(public_head="f" * 40)
    with pytest.raises(HfHubHTTPError):
        client_of(None).get_dataset_leaderboard("alice/bench")


def test_several_tasks_are_boards_of_their_own(bench, alice, bob):
    model(alice.user, "a", 1)
    two = make_repo(bob.user, "b", type="model")
    add(two, bob.user, {".eval_results/x.yaml": results(2), ".eval_results/y.yaml": results(77, task="hard")})
    ask = Client().get
    assert [row["modelId"] for row in ask("/api/datasets/alice/bench/leaderboard").json()] == ["bob/b", "alice/a"]
    hard = ask("/api/datasets/alice/bench/leaderboard?task_id=hard").json()
    assert [(row["modelId"], row["value"]) for row in hard] == [("bob/b", 77.0)]
    assert ask("/api/datasets/alice/bench/leaderboard?task_id=nothing").json() == []
    page = Client().get("/datasets/alice/bench").content.decode()
    assert "Leaderboard" in page and "bob/b" in page and "not verified" in page
    whole = Client().get("/datasets/alice/bench/leaderboard").content.decode()
    assert whole.count('href="/bob/b"') == 2 and "alice/a" in whole and "Task hard" in whole
    assert "Leaderboard" not in Client().get("/bob/b").content.decode()


def test_a_board_costs_few_queries(bench, alice, django_assert_num_queries):
    for number in range(5):
        model(alice.user, f"m{number}", number)
    # name, dataset, names of its owner, former names, results with their models, what was measured here
    with django_assert_num_queries(6):
        assert len(Client().get("/api/datasets/alice/bench/leaderboard").json()) == 5


def test_a_model_tells_its_results_and_which_file_is_broken(client_of, bench, bob):
    repo = model(bob.user, "large", 41.5, dataset_revision="a" * 40, date="2026-11-20")
    add(repo, bob.user, {".eval_results/odd.yaml": "- dataset: {id: alice/bench}\n  value: 3\n"})
    info = client_of(None).model_info("bob/large", expand=["evalResults"])
    (entry,) = info.eval_results
    assert (entry.dataset_id, entry.task_id, entry.value, entry.date) == ("alice/bench", "default", 41.5, "2026-11-20")
    raw = Client().get("/api/models/bob/large?expand=evalResults").json()["evalResults"]
    assert "entry 1: 'dataset.task_id' must be a text" in raw[1]["error"]
    assert len(client_of(None).get_dataset_leaderboard("alice/bench")) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1", "must be a list"),
        ("- 3", "'dataset' must hold"),
        ("- dataset: {id: a/b, task_id: t}\n  value: high", "'value' must be a number"),
        ("- dataset: {id: a/b, task_id: t}\n  value: true", "'value' must be a number"),
        ("- dataset: {id: a/b, task_id: t}\n  value: .nan", "'value' must be a number"),
        ("- dataset: {id: [a], task_id: t}\n  value: 1", "'dataset.id' must be a text"),
        ("- dataset: {id: a/b, task_id: t}\n  value: 1\n  source: {url: 'javascript:alert(1)'}", "'source.url'"),
        ("- dataset: {id: a/b, task_id: t}\n  value: 1\n  source: {name: x}", "'source.url'"),
        ("- &a {x: 1}\n- *a", "aliases"),
        ("[" * 5000, "too deep"),
        ("- {", "line"),
    ],
)
def test_a_broken_file_is_told_and_does_no_harm(text, words):
    (found,) = parse_file(".eval_results/x.yaml", text)
    assert words in found.problem and found.problem.startswith(".eval_results/x.yaml")


def test_one_model_does_not_take_the_places_of_others(bench, alice, bob, monkeypatch):
    """With 200 entries each, five models filled the 1,000 rows that are looked at."""
    from hub.community import eval_results, leaderboards

    monkeypatch.setattr(leaderboards, "MAX_ROWS", 3)
    monkeypatch.setattr(eval_results, "MAX_TASKS", 2)
    flood = model(bob.user, "flood", *range(50, 60))
    model(alice.user, "small", 1)
    (row,) = EvalResult.objects.filter(repo=flood)
    assert row.value == 59
    for value in range(60, 70):  # as an earlier version wrote them
        EvalResult.objects.create(
            repo=flood, commit=row.commit, filename="x", dataset=row.dataset, task=row.task, value=value
        )
    board = Client().get("/api/datasets/alice/bench/leaderboard").json()
    assert [(place["modelId"], place["value"]) for place in board] == [("bob/flood", 69.0), ("alice/small", 1.0)]
    files = {f".eval_results/{number}.yaml": results(number, task=f"t{number}") for number in range(5)}
    add(flood, bob.user, files)
    assert EvalResult.objects.filter(repo=flood).values("task").distinct().count() == 2


def test_the_cards_of_the_models_are_not_loaded(bench, alice):
    from django.contrib.auth.models import AnonymousUser

    from hub.community.leaderboards import has_base, make_boards, rows_of

    model(alice.user, "tuned", 2, card="base_model: bob/large")
    model(alice.user, "merged", 3, card="base_model: [bob/large, bob/other]")
    model(alice.user, "plain", 1, card="base_model: ''")
    rows = rows_of(bench, AnonymousUser())
    assert all({"card", "tags"} <= row.repo.get_deferred_fields() for row in rows)
    assert {row.repo.name: has_base(row) for row in rows} == {"tuned": True, "merged": True, "plain": False}
    (board,) = make_boards(rows, base_only=True).values()
    assert [place.repo.name for place in board] == ["plain"]


@pytest.mark.parametrize("gate", ["auto", "manual"])
def test_results_of_gated_models_leave_the_boards(client_of, bench, alice, charlie, gate):
    """Their files are for who was let in, and a leaderboard is for everybody; opened again, they are back."""
    from hub.repos.lifecycle import update_settings

    gated = model(alice.user, "gated", 9)
    model(alice.user, "open", 3)
    ask, path = Client().get, "/api/datasets/alice/bench/leaderboard"
    assert [row["modelId"] for row in ask(path).json()] == ["alice/gated", "alice/open"]
    update_settings(repo=gated, by=alice.user, gated=gate)
    assert [row["modelId"] for row in ask(path).json()] == ["alice/open"]
    assert b"alice/gated" not in ask("/datasets/alice/bench/leaderboard").content
    assert "9.0" not in ask("/datasets/alice/bench").content.decode()
    update_settings(repo=gated, by=alice.user, gated="")
    assert len(ask(path).json()) == 2


def test_files_and_bytes_that_are_read_are_bounded(bench, bob, monkeypatch):
    from hub.community import eval_results

    monkeypatch.setattr(eval_results, "MAX_FILES", 3)
    repo = make_repo(bob.user, "large", type="model")
    add(repo, bob.user, {f".eval_results/{number}.yaml": results(number) for number in range(5)})
    assert sorted(EvalResult.objects.values_list("value", flat=True)) == [2.0]  # the best of three
    monkeypatch.setattr(eval_results, "MAX_BYTES", 100)
    add(repo, bob.user, {"x.txt": "moved"})
    assert EvalResult.objects.count() == 1
