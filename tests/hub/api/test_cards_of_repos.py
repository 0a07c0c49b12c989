"""The card follows the head that people see, and becomes the tags that lists are filtered by."""

import pytest
from huggingface_hub import CommitOperationAdd

from hub.repos.cards import plain_value, read_card, tags_of
from hub.repos.models import Repo

CARD = b"---\nlicense: mit\nlanguage: [de, no]\ntask_categories: [text-generation]\nmade: 2026-11-23\nscore: .nan\n---\n# Tides\n"


@pytest.mark.django_db(transaction=True)
def test_a_card_is_filtered_by_as_soon_as_it_is_cleared(client_of, alice, cleared_at_once):
    client = client_of(alice)
    client.create_repo("alice/tides", repo_type="dataset")
    files = [CommitOperationAdd("README.md", CARD), CommitOperationAdd("rows.jsonl", b'{"a": 1}\n')]
    client.create_commit("alice/tides", files, repo_type="dataset", commit_message="Card")
    found = client_of(None).list_datasets(filter=["license:mit", "language:no"], task_categories="text-generation")
    assert [item.id for item in found] == ["alice/tides"]
    repo = Repo.objects.get()
    assert (repo.card["made"], repo.card["score"], "format:json" in repo.tags) == ("2026-11-23", "nan", True)
    client.delete_file("README.md", "alice/tides", repo_type="dataset")
    repo.refresh_from_db()
    assert (repo.card, [tag for tag in repo.tags if tag != "format:json"]) == ({}, [])


@pytest.mark.django_db(transaction=True)
def test_a_broken_card_says_its_line_and_stays_readable(client_of, alice, cleared_at_once, hub_url):
    client = client_of(alice)
    client.create_repo("alice/tides")
    with pytest.raises(ValueError, match="line 3"):
        client.upload_file(path_or_fileobj=b"---\na: 1\nb: [\n---\n", path_in_repo="README.md", repo_id="alice/tides")


def test_nothing_in_a_card_breaks_the_database():
    deep = read_card("---\na: " + "[" * 30_000 + "\n---\n")
    assert (deep.metadata, bool(deep.problem)) == ({}, True)
    assert plain_value({"a": float("inf"), 1: {2**70}, "b": "x\0y"}) == {"a": "inf", "1": [str(2**70)], "b": "xy"}


def test_tags_speak_the_words_of_the_client():
    metadata = {
        "license": "mit",
        "base_model": ["a/b"],
        "datasets": ["c/d"],
        "tags": ["x", 3, "x"],
        "pipeline_tag": "text-generation",
    }
    assert tags_of("model", metadata, ["model.safetensors"]) == [
        "text-generation", "x", "license:mit", "dataset:c/d", "base_model:a/b", "safetensors",
    ]  # fmt: skip
