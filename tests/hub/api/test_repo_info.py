"""What the stock client learns of a repository: files, card, configuration, parameters, state of screening."""

import json
import struct
import uuid

import pytest
from django.test import Client
from huggingface_hub import CommitOperationAdd
from huggingface_hub.errors import RevisionNotFoundError

from hub.repos.clearance import set_clearance
from hub.repos.models import Content
from hub.storage.safetensors_header import read_header

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("cleared_at_once")]
REPO = "alice/tiny"
CARD = b"---\nlicense: apache-2.0\npipeline_tag: text-generation\ntags: [tiny]\n---\n# Tiny\n"
CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4}


def safetensors(**shapes: list[int]) -> bytes:
    """A well-formed file of float32 zeros, never twice the same: the client remembers which bytes it has sent."""
    header: dict = {"__metadata__": {"made": uuid.uuid4().hex}}
    data = b""
    for name, shape in shapes.items():
        size = 4
        for length in shape:
            size *= length
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + size]}
        data += bytes(size)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.fixture
def client(client_of, alice):
    client = client_of(alice)
    client.create_repo(REPO)
    files = {
        "README.md": CARD,
        "config.json": json.dumps(CONFIG).encode(),
        "model.safetensors": safetensors(a=[4, 3], b=[5]),
    }
    operations = [CommitOperationAdd(path, data) for path, data in files.items()]
    client.create_commit(REPO, operations, commit_message="A tiny model")
    return client


@pytest.mark.covers("HfApi.model_info")
def test_a_model_tells_its_card_configuration_and_size(client, client_of):
    info = client_of(None).model_info(REPO)
    assert (info.pipeline_tag, info.card_data.license, info.config["model_type"]) == (
        "text-generation",
        "apache-2.0",
        "llama",
    )
    assert (info.safetensors.parameters, info.safetensors.total) == ({"F32": 17}, 17)
    assert {"tiny", "text-generation", "license:apache-2.0"} <= set(info.tags)
    assert info.used_storage > 0
    assert info.created_at <= info.last_modified


def test_files_are_told_with_their_identities_when_asked(client):
    plain = {file.rfilename: file for file in client.model_info(REPO).siblings}
    assert set(plain) == {".gitattributes", "README.md", "config.json", "model.safetensors"}
    assert plain["config.json"].size is None
    full = {file.rfilename: file for file in client.model_info(REPO, files_metadata=True).siblings}
    assert full["config.json"].size == len(json.dumps(CONFIG))
    assert full["model.safetensors"].lfs.size == full["model.safetensors"].size


def test_one_asks_for_single_properties(client):
    info = client.model_info(REPO, expand=["sha", "likes", "safetensors"])
    assert len(info.sha) == 40
    assert (info.likes, info.safetensors.total, info.downloads, info.siblings) == (0, 17, None, None)


def test_a_revision_is_answered_as_it_was(client):
    old = client.model_info(REPO).sha
    client.delete_file("config.json", REPO)
    assert "config.json" in [file.rfilename for file in client.model_info(REPO, revision=old).siblings]
    assert client.model_info(REPO, revision=old).sha == old
    with pytest.raises(RevisionNotFoundError):
        client.model_info(REPO, revision="nowhere")


def test_a_broken_safetensors_file_breaks_no_page(client):
    client.upload_file(path_or_fileobj=b"\xff" * 100, path_in_repo="model.safetensors", repo_id=REPO)
    assert client.model_info(REPO).safetensors is None


@pytest.mark.covers("HfApi.get_safetensors_metadata")
def test_the_headers_of_all_shards_come_at_once(client):
    index = {"metadata": {"total_size": 68}, "weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    files = {
        "model.safetensors.index.json": json.dumps(index).encode(),
        "model-1.safetensors": safetensors(a=[4, 3]),
        "model-2.safetensors": safetensors(b=[5]),
    }
    client.create_commit(
        REPO, [CommitOperationAdd(path, data) for path, data in files.items()], commit_message="Shards"
    )
    client.delete_file("model.safetensors", REPO)
    metadata = client.get_safetensors_metadata(REPO)
    assert metadata.weight_map == index["weight_map"]
    assert metadata.parameter_count == {"F32": 17}
    assert client.model_info(REPO).safetensors.total == 17


def test_members_learn_what_screening_found(client):
    content = Content.objects.get(path="model.safetensors", digest__startswith="sha256:")
    set_clearance(contents=[content], clearance="withheld", reason="It is no model.")
    status = client.model_info(REPO, securityStatus=True).security_repo_status
    assert status["scansDone"] is True
    assert status["filesWithIssues"] == [{"path": "model.safetensors", "level": "unsafe", "message": "It is no model."}]


def test_a_repository_with_nothing_cleared_is_there_and_empty(client_of, alice, charlie):
    client_of(alice).create_repo("alice/new")
    contents = list(Content.objects.filter(repo__name="new"))
    set_clearance(contents=contents, clearance="pending")
    info = client_of(charlie).repo_info("alice/new")
    assert (info.sha, info.siblings) == (None, [])


def test_headers_of_many_shards_are_read_within_bounds(client, monkeypatch):
    """One file under 200 names was read and sent 200 times, 25 MB each."""
    from hub.api.hf import safetensors as door

    index = {"weight_map": {name: f"{name}.safetensors" for name in "abc"}}
    data = safetensors(a=[4, 3])
    files = {f"{name}.safetensors": data for name in "abc"}
    files |= {"model.safetensors.index.json": json.dumps(index).encode()}
    client.create_commit(REPO, [CommitOperationAdd(*file) for file in files.items()], commit_message="Shards")
    parsed = []
    monkeypatch.setattr(door, "read_header", lambda file: parsed.append(file) or read_header(file))
    address = f"/api/models/{REPO}/safetensors-metadata/model.safetensors.index.json"
    assert set(Client().get(address).json()["headers"]) == {"a.safetensors", "b.safetensors", "c.safetensors"}
    assert len(parsed) == 1

    monkeypatch.setattr(door, "MAX_HEADERS_BYTES", 2 * len(data))
    answer = Client().get(address)
    assert answer.status_code == 413 and "read the files one by one" in answer.json()["error"]
    client.delete_file("model.safetensors", REPO)
    assert client.model_info(REPO).safetensors is None
