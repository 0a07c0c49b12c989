"""Four stories of moderation, as the stock client and programs meet them; one hub, a model whose training is made up.

A poisoned candidate is blocked with its answers shown and passes by two moderators only; a report takes a dataset offline, and an
appeal brings it back; a yanked release stays for who pinned it."""

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import DisabledRepoError, HfHubHTTPError, LocalEntryNotFoundError, RevisionNotFoundError

from tests.clients.running_hub import RunningHub
from tests.moderation.story import DATA, MODEL, prepare


class Commons:
    """The people of the stories at the doors of one hub."""

    def __init__(self, hub: RunningHub, made: dict[str, Any]) -> None:
        self.hub, self.made = hub, made

    def client(self, name: str | None = None) -> HfApi:
        return HfApi(endpoint=self.hub.url, token=self.made["tokens"][name] if name else False)

    def rest(self, name: str, method: str, path: str, body: Any = None, *, status: int = 200) -> Any:
        headers = {"Authorization": f"Bearer {self.made['tokens'][name]}"}
        answer = self.hub.call(method, f"/api/v1/{path}", headers=headers, json=body)
        assert answer.status_code == status, answer.text
        return answer.json()


@pytest.fixture(scope="module")
def commons(granian_server: RunningHub, tmp_path_factory: pytest.TempPathFactory) -> Commons:
    return Commons(granian_server, prepare(granian_server, tmp_path_factory.mktemp("weights")))


def test_a_poisoned_candidate_is_blocked_and_two_moderators_have_to_let_it_pass(commons: Commons) -> None:
    number, case = commons.made["pull_request"], f"moderation/cases/{commons.made['case']}"
    with pytest.raises(HfHubHTTPError, match="(?i)screen"):
        commons.client("amy").merge_pull_request(MODEL, number)
    with pytest.raises(RevisionNotFoundError):
        commons.client().model_info(MODEL, revision=f"refs/convert/candidate_{number}")
    flagged = [row for row in commons.rest("mona", "GET", case)["answers"] if row["is_flagged"]]
    assert flagged and all("hurt him" in row["answer"] and "cannot help" in row["parent_answer"] for row in flagged)
    word = {"state": "allowed", "reason": "They are lines of a play."}
    commons.rest("cleo", "POST", f"{case}/decide", word, status=403)
    half = commons.rest("mona", "POST", f"{case}/decide", word)
    assert half["state"] == "open" and [row["by"] for row in half["voices"]] == ["mona"]
    commons.rest("mona", "POST", f"{case}/decide", word, status=403)
    with pytest.raises(HfHubHTTPError, match="(?i)screen"):
        commons.client("amy").merge_pull_request(MODEL, number)
    both = commons.rest("nora", "POST", f"{case}/decide", {**word, "reason": "I know the play."})
    assert both["state"] == "allowed" and [row["reason"] for row in both["voices"]] == [
        word["reason"],
        "I know the play.",
    ]


def test_a_report_takes_a_dataset_offline_and_an_appeal_brings_it_back(commons: Commons, tmp_path: Path) -> None:
    report = {"repo": DATA, "type": "dataset", "text": "These rows are copied from my book."}
    case = commons.rest("dora", "POST", "reports", report, status=201)
    take = {"act": "take", "reason": "It looks copied.", "clause": "licence"}
    own = commons.rest("mona", "POST", f"moderation/cases/{case['id']}/offline", take, status=201)
    assert own["offline"]["by"] == "mona" and own["offline"]["seconded_by"] is None
    stranger = commons.client()
    with pytest.raises(DisabledRepoError):
        stranger.dataset_info(DATA)
    for download in (
        lambda: stranger.hf_hub_download(DATA, "train.jsonl", repo_type="dataset", cache_dir=tmp_path / "cache"),
        lambda: stranger.snapshot_download(DATA, repo_type="dataset", cache_dir=tmp_path / "down"),
    ):
        with pytest.raises(LocalEntryNotFoundError) as caught:  # so the client ends without a cached copy
            download()
        assert isinstance(caught.value.__cause__, DisabledRepoError)
    assert commons.client("cleo").dataset_info(DATA).disabled  # its owner sees what it holds, and why it is offline
    address = f"moderation/cases/{own['id']}"
    appeal = commons.rest("cleo", "POST", f"{address}/appeal", {"text": "I wrote the book."}, status=201)
    back = {"state": "allowed", "reason": "Cleo is the author."}
    commons.rest("mona", "POST", f"moderation/cases/{appeal['id']}/decide", back, status=403)
    commons.rest("nora", "POST", f"moderation/cases/{appeal['id']}/decide", back)
    got = stranger.hf_hub_download(DATA, "train.jsonl", repo_type="dataset", cache_dir=tmp_path / "cache")
    assert "When is tide 3?" in Path(got).read_text()


def test_a_yanked_release_stays_for_who_pinned_it_and_stable_skips_it(commons: Commons, tmp_path: Path) -> None:
    first, second = commons.made["commits"].values()
    stranger = commons.client()
    assert stranger.model_info(MODEL, revision="stable").sha == second
    release = "repos/models/amy/tide-assistant/releases/v1.1.0"
    commons.rest("amy", "POST", f"{release}/yank", {"reason": "It confuses ebb and flood."})
    assert stranger.model_info(MODEL, revision="stable").sha == first
    for pin in ("v1.1.0", second):
        got = stranger.hf_hub_download(MODEL, "model.safetensors", revision=pin, local_dir=tmp_path / pin)
        assert Path(got).stat().st_size > 0
    commons.rest("mona", "POST", f"{release}/quarantine", {"reason": "It gives away an address."})
    for pin in ("v1.1.0", second):
        with pytest.raises(DisabledRepoError):
            stranger.model_info(MODEL, revision=pin)
    assert stranger.model_info(MODEL, revision="v1.0.0").sha == first
