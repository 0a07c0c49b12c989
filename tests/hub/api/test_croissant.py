"""Datasets described in Croissant: files with their digests, columns with types, and only what the reader may have."""

import hashlib
import json
from typing import Any

import pytest
from django.test import Client

from hub.api.hf.croissant import read_columns
from tests.training.line import push

CSV = b"harbour,high,calm\nBergen,6.12,1\nMandal,7,2\n"
ROWS = b'{"question": "When?", "turns": ["a"], "n": 1}\n{"question": null, "n": 2.5, "sure": true}\n'


@pytest.mark.parametrize(
    ("path", "data", "columns"),
    [
        ("a.csv", CSV, {"harbour": "sc:Text", "high": "sc:Float", "calm": "sc:Integer"}),
        ("a.tsv", b"a\tb\n1\tx\n", {"a": "sc:Integer", "b": "sc:Text"}),
        ("a.jsonl", ROWS, {"question": "sc:Text", "n": "sc:Float", "sure": "sc:Boolean"}),
        ("a.jsonl", b'not json\n["list"]\n{"a": 1}\n{"a": "x"}\n', {"a": "sc:Text"}),
        ("a.jsonl", b"[" * 5000 + b"\n", {}),
        ("a.jsonl", b'{"\\ud800 x": 1, "a": 1}\n', {"a": "sc:Integer"}),  # half a character made the page a 500
        ("a.csv", b'a\n"' + b"x" * 200_000, {}),
        ("a.parquet", b"PAR1", {}),
    ],
)
def test_columns_have_the_type_that_holds_all_rows(path: str, data: bytes, columns: dict[str, str]) -> None:
    assert read_columns(path, data, is_whole=True) == columns


def test_what_a_cut_leaves_of_a_row_is_not_read() -> None:
    assert read_columns("a.csv", b"a,b\n1,2\n3,x", is_whole=False) == {"a": "sc:Integer", "b": "sc:Integer"}


def test_a_dataset_is_described_for_who_may_read_it(alice: Any, charlie: Any, client: Client) -> None:
    from hub.repos.lifecycle import create_repo

    repo = create_repo(type="dataset", name="tides", by=alice.user)
    address = "/api/datasets/alice/tides/croissant"
    card = b"---\nlicense: cc-by-4.0\npretty_name: Tides\ntags: [sea]\n---\n"
    push(
        repo, alice.user, {"data/tides 1.csv": CSV, "train.jsonl": ROWS, "README.md": card, "notes.txt": b"No table.\n"}
    )
    answer = client.get(address)
    assert answer["Content-Type"] == "application/ld+json" and len(answer["X-Repo-Commit"]) == 40
    told = json.loads(answer.content)
    assert (told["@type"], told["conformsTo"]) == ("sc:Dataset", "http://mlcommons.org/croissant/1.0")
    assert (told["license"], told["description"], told["creator"]["name"]) == ("cc-by-4.0", "Tides", "alice")
    assert not any(" " in row["@id"] for row in [*told["distribution"], *told["recordSet"]])  # mlcroissant refuses it
    files = {row["@id"].partition("~")[0]: row for row in told["distribution"]}
    assert files.keys() == {"data/tides-1.csv", "train.jsonl"}
    csv = files["data/tides-1.csv"]
    assert csv["sha256"] == hashlib.sha256(CSV).hexdigest() and csv["encodingFormat"] == "text/csv"
    download = client.get(csv["contentUrl"].removeprefix("http://testserver"))
    assert b"".join(download.streaming_content) == CSV  # type: ignore[attr-defined]
    fields = {row["source"]["fileObject"]["@id"]: [item["name"] for item in row["field"]] for row in _fields(told)}
    assert fields["train.jsonl"] == ["question", "n", "sure"]

    type(repo).objects.filter(pk=repo.pk).update(is_private=True)
    assert client.get(address).status_code in (401, 404)
    client.force_login(charlie.user)
    assert client.get(address).status_code == 404
    model = create_repo(type="model", name="shore", by=alice.user)
    assert client.get(f"/api/models/{model.full_name}/croissant").status_code == 400


def _fields(told: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"source": row["field"][0]["source"], "field": row["field"]} for row in told["recordSet"]]
