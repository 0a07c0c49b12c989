"""A lock is canonical, and nothing but what this program writes is read."""

import json
from pathlib import Path
from typing import Any

import pytest

from training.engine.errors import EngineError
from training.engine.lock import (
    Lock,
    LockedFile,
    LockedRepository,
    find_repository,
    format_lock,
    lock_digest,
    name_folder,
    parse_lock,
    read_lock,
    write_lock,
)

FILE = LockedFile("ab" * 32, 12)
DATA = LockedRepository(
    "dataset",
    "alice/tides",
    "main",
    "1" * 40,
    {"data/train.jsonl": FILE},
    {"data/train.jsonl": [{"contributor": "alice", "pull_request": 12, "rows": [0, 3]}, {"contributor": None}]},
    key="k1",
)
MODEL = LockedRepository("model", "commons/small", "v1.0.0", "2" * 40, {"model.safetensors": FILE})
LOCK = Lock(
    recipe="version: 1\n",
    repositories=(DATA, MODEL),
    resolved={"train.learning_rate": 2e-4},
    seeds={"train": 17},
    versions={"torch": "2.13.0"},
    device="cpu: x86_64",
    corpus_digest="sha256:" + "cd" * 32,
    outputs={"model.safetensors": "ef" * 32},
    endpoint="https://hub.example.org",
)


def test_a_lock_is_read_back_equal_and_equal_locks_are_equal_bytes(tmp_path: Path) -> None:
    write_lock(LOCK, tmp_path / "recipe.lock")
    again = read_lock(tmp_path / "recipe.lock")
    assert again == LOCK
    assert format_lock(again) == format_lock(LOCK)
    assert lock_digest(again) == lock_digest(LOCK)
    assert [p.name for p in tmp_path.iterdir()] == ["recipe.lock"]


def test_the_digest_changes_with_every_pin() -> None:
    changed = json.loads(format_lock(LOCK))
    changed["repositories"][0]["files"]["data/train.jsonl"]["size"] = 13
    assert lock_digest(parse_lock(json.dumps(changed))) != lock_digest(LOCK)


def test_a_repository_is_found_by_type_name_and_revision() -> None:
    assert find_repository(LOCK, "dataset", "alice/tides", "main") is not None
    with pytest.raises(EngineError, match="does not pin the model alice/tides@main"):
        find_repository(LOCK, "model", "alice/tides", "main")


def test_two_commits_of_one_repository_get_folders_of_their_own() -> None:
    other = LockedRepository("dataset", "alice/tides", "v1", "3" * 40, {})
    twice = Lock(recipe="", repositories=(DATA, other))
    assert name_folder(DATA, LOCK) == "datasets/alice--tides"
    assert {name_folder(r, twice) for r in twice.repositories} == {
        "datasets/alice--tides--111111111111",
        "datasets/alice--tides--333333333333",
    }


def change(path: list[Any], value: Any) -> str:
    record = json.loads(format_lock(LOCK))
    place = record
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return json.dumps(record)


FILES = ["repositories", 0, "files"]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "must be an object"),
        ('{"version": 1, "version": 1}', "appears twice"),
        ('{"version": NaN}', "NaN is not a number"),
        (change(["version"], 2), "version 2 is unknown"),
        (change(["surprise"], 1), "unknown key 'surprise'"),
        (change(["repositories", 0, "type"], "space"), "must be model or dataset"),
        (change(["repositories", 0, "id"], "../x"), "names no repository"),
        (change(["repositories", 0, "commit"], "main"), "not a full commit id"),
        (change([*FILES, "../out"], {"sha256": "a" * 64, "size": 1}), "unsafe path"),
        (change([*FILES, "/etc/passwd"], {"sha256": "a" * 64, "size": 1}), "unsafe path"),
        (change([*FILES, "a\\b"], {"sha256": "a" * 64, "size": 1}), "unsafe path"),
        (change([*FILES, ".git/hooks/x"], {"sha256": "a" * 64, "size": 1}), "unsafe path"),
        (change([*FILES, "a\nb"], {"sha256": "a" * 64, "size": 1}), "unsafe path"),
        (change([*FILES, "data"], {"sha256": "a" * 64, "size": 1}), "both a file and a folder"),
        (change([*FILES, "x"], {"sha256": "a" * 63, "size": 1}), "not 64 hex"),
        (change([*FILES, "x"], {"sha256": "a" * 64, "size": -1}), "not a number of bytes"),
        (change([*FILES, "x"], {"sha256": "a" * 64, "size": True}), "not a number of bytes"),
        (change(["repositories", 1], json.loads(format_lock(LOCK))["repositories"][0]), "twice"),
        (change(["repositories", 0, "contributors"], {"x": [{"contributor": 3}]}), "contributor"),
        (change(["seeds"], {"train": "x"}), "seeds must map"),
        (change(["corpus_digest"], "abc"), "corpus_digest"),
    ],
)
def test_what_is_not_a_lock_is_refused(text: str, what: str) -> None:
    with pytest.raises(EngineError, match=what) as refused:
        parse_lock(text)
    assert refused.value.code == "lock_invalid"


def test_a_missing_lock_is_a_refusal_not_a_crash(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="cannot be read"):
        read_lock(tmp_path / "recipe.lock")
