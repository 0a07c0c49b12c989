"""A mark that claims more than its test does is found out."""

import pytest

from tests.clients.proofs import proves

FILE = """
import pytest

SCRIPT = '''
from datasets import load_dataset
load_dataset(name, streaming=True)
'''
REFUSED = ["hf jobs run image", "hf jobs list"]


@pytest.fixture
def repo(client):
    client.create_repo("alice/tides")


def upload(client):
    return client.upload_file(b"x")


def expect_refusal(call):
    with pytest.raises(HfHubHTTPError):
        call()


def test_all(client, repo, files: HfFileSystem, hf):
    # client.delete_repo("alice/tides") is only spoken of, as is "hf repos delete" and DatasetCard
    said = "client.move_repo and hf repos move"
    upload(client)
    files.open("a")
    hf("repos", "create", "alice/poems")
    ModelCard.load("alice/poems")
    client.merge_pull_request
    with pytest.raises(HfHubHTTPError):
        client.create_tag("v1")
    hf("repos", "list", fails=True)
    machine.run(SCRIPT)
    expect_refusal(lambda: client.pause_space("alice/rooms"))


def test_other(client):
    client.delete_branch("main")


@pytest.mark.parametrize(("method", "more"), [("run_job", ()), ("list_jobs", ("inspect_job",))])
def test_methods(client, method, more):
    expect_refusal(lambda: getattr(client, method)(*more))


@pytest.mark.parametrize("command", REFUSED)
def test_commands(hf, command):
    hf(*command.split()[1:], fails=True)
"""


@pytest.mark.parametrize(
    "name",
    [
        "HfApi.upload_file", "HfApi.create_repo", "HfFileSystem.open", "hf repos create", "ModelCard",
        "datasets load_dataset", "datasets streaming",
    ],
)  # fmt: skip
def test_what_a_test_calls_itself_or_by_its_helpers_is_proved(name: str):
    assert proves(FILE, "test_all", name)
    assert not proves(FILE, "test_all", name, is_refusal=True)


@pytest.mark.parametrize(
    "name",
    [
        "HfApi.delete_repo", "HfApi.move_repo", "hf repos move", "hf repos delete", "DatasetCard",  # words alone
        "HfApi.delete_branch",  # another test of the file
        "HfApi.merge_pull_request",  # named and not called
        "HfApi.create_tag", "hf repos list", "HfApi.pause_space",  # refused only
        "HfApi.open",  # of the file system
        "peft load_dataset", "lm_eval",
    ],
)  # fmt: skip
def test_what_a_test_never_calls_with_success_is_not_proved(name: str):
    assert not proves(FILE, "test_all", name)


@pytest.mark.parametrize(
    ("test", "name"),
    [
        ("test_all", "HfApi.create_tag"), ("test_all", "hf repos list"), ("test_all", "HfApi.pause_space"),
        ("test_methods", "HfApi.run_job"), ("test_methods", "HfApi.list_jobs"), ("test_commands", "hf jobs run"),
    ],
)  # fmt: skip
def test_a_refusal_is_proved_by_a_call_that_is_refused(test: str, name: str):
    assert proves(FILE, test, name, is_refusal=True)
    assert not proves(FILE, test, name)


@pytest.mark.parametrize(
    ("test", "name"),
    [("test_methods", "HfApi.inspect_job"), ("test_methods", "HfApi.cancel_job"), ("test_commands", "hf jobs stop")],
)
def test_only_what_a_test_is_parametrized_with_is_called(test: str, name: str):
    assert not proves(FILE, test, name, is_refusal=True)
