"""Something of everything to look at: repositories of all kinds, a discussion, proposals, a run that waits, a case."""

import time
from dataclasses import dataclass

from tests.browser.town import BASE, ORGANIZATION, SUITE_NAME, Town, write_files
from tests.training.line import PAIRS, as_jsonl

MODEL = f"{ORGANIZATION}/shore"
DATASET = "ada/harbour"
PRIVATE = "ada/secret"
CARELESS = "ada/careless"  # holds a pickle
QUESTIONS = "ada/questions"  # fit to train on
LONG = "an-unreasonably-long-name-of-a-file-that-somebody-gave-without-thinking-of-telephones.md"
README = """---
license: cc-by-4.0
language: en
tags: [tides, harbour]
---
# Harbour notes

Kept by hand, see the [tables](data/tides.csv).

| harbour | high water | low water | wind | remarks |
|---|---|---|---|---|
| Bergen | 06:12 | 12:20 | south-west, strong | two boats came in late and stayed over night |

```python
print("high water", 6.12, "and a line of code that is much longer than any telephone is wide, so it has to scroll")
```

## Sources

Newspapers.

### By year

1911 to 1914.
"""
CSV = "harbour,high,remark\n" + "".join(f"Bergen {day},06:{day:02},calm\n" for day in range(40))
PICKLE = b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R."
RECIPE = f"""version: 1
base: {BASE}@main
contributions:
  - {{data: {QUESTIONS}@main, format: chat}}
train: {{method: full, steps: 4, context_tokens: 64, batch_tokens: 128}}
evaluate:
  - {{suite: {SUITE_NAME}@main}}
"""
RUN_S = 120  # until the hub has made the run of a proposal


@dataclass
class Scenery:
    """Paths of what was made, and the pages on which it shows."""

    model: str = f"/{MODEL}"
    dataset: str = f"/datasets/{DATASET}"
    private: str = f"/datasets/{PRIVATE}"
    proposal: str = ""  # waits for a maintainer's "run"
    small_proposal: str = ""  # a file for a dataset; may be merged
    discussion: str = ""
    run: str = ""
    case: str = ""
    commit: str = ""
    collection: str = ""

    @property
    def public_pages(self) -> dict[str, str]:
        return {
            "home": "/",
            "sign-in": "/login",
            "sign-up": "/signup",
            "models": "/models",
            "datasets": "/datasets?q=harbour&sort=name",
            "nothing-found": "/datasets?q=nowhere",
            "search": "/search?q=tide",
            "organization": f"/{ORGANIZATION}",
            "person": "/ada",
            "collections": "/collections",
            "collection": self.collection,
            "shelves-of-a-person": "/ada?tab=collections",
            "model": self.model,
            "base": f"/{BASE}",
            "dataset": self.dataset,
            "tree": f"{self.dataset}/tree/main",
            "folder": f"{self.dataset}/tree/main/data",
            "leaderboard": f"{self.dataset}/leaderboard",
            "blob-text": f"{self.dataset}/blob/main/README.md",
            "blob-lines": f"{self.dataset}/blob/main/README.md?plain",
            "blob-csv": f"{self.dataset}/blob/main/data/tides.csv",
            "blob-chat": f"{self.dataset}/blob/main/train.jsonl",
            "blob-weights": f"/{BASE}/blob/main/model.safetensors",
            "commits": f"{self.dataset}/commits/main",
            "commit": self.commit,
            "proposals": f"{self.model}/discussions?kind=proposals",
            "community": f"{self.dataset}/discussions",
            "discussion": self.discussion,
            "proposal": self.proposal,
            "proposal-commits": f"{self.proposal}/commits",
            "proposal-files": f"{self.proposal}/files",
            "runs": f"{self.model}/runs",
            "run": self.run,
            "policy": "/policy",
            "audit": "/audit",
            "transparency": "/moderation/transparency",
        }

    @property
    def maintainer_pages(self) -> dict[str, str]:
        return {
            "desk": "/",
            "own-cases": "/moderation",
            "notifications": "/notifications",
            "jobs": "/jobs",
            "profile-settings": "/settings/profile",
            "password": "/settings/password",
            "tokens": "/settings/tokens",
            "attachments": "/settings/attachments",
            "webhooks": "/settings/webhooks",
            "deleted": "/settings/deleted",
            "organization-settings": f"/settings/organizations/{ORGANIZATION}",
            "new": "/new",
            "new-dataset": "/new/dataset",
            "new-model": "/new/model",
            "new-collection": "/new/collection",
            "own-collection": self.collection,
            "edit-collection": f"{self.collection}/edit",
            "collect": f"{self.dataset}/collect",
            "copy": f"{self.dataset}/copy",
            "new-organization": "/new/organization",
            "new-proposal": "/new/proposal",
            "choose-target": f"/propose?base={BASE}",
            "repo-settings": f"{self.model}/settings",
            "purge": f"{self.dataset}/settings/purge?path=README.md",
            "own-dataset": self.dataset,
            "withheld-tree": f"/datasets/{CARELESS}/tree/main",
            "withheld-card": f"/datasets/{CARELESS}",
            "withheld": f"/datasets/{CARELESS}/blob/main/args.bin",
            "private": self.private,
            "edit": f"{self.dataset}/edit/main/README.md",
            "new-file": f"{self.dataset}/new/main",
            "delete": f"{self.dataset}/delete/main/data/tides.csv",
            "upload": f"{self.dataset}/upload",
            "new-discussion": f"{self.dataset}/discussions/new",
            "proposal-to-run": self.proposal,
            "proposal-to-merge": self.small_proposal,
            "run-to-start": self.run,
            "replays": f"{self.run}/replays",
            "channels": f"{self.model}/releases/channels",
            "releases": f"{self.model}/releases",
            "playground": f"/{BASE}/playground",
            "report": f"{self.dataset}/report",
            "wizard": f"{self.model}/propose?base={BASE}",
            "wizard-data": f"{self.model}/propose?base={BASE}&step=data&goal=chat&look={QUESTIONS}",
            "wizard-unfit": f"{self.model}/propose?base={BASE}&step=preview&goal=chat&data={DATASET}",
            "wizard-preview": f"{self.model}/propose?base={BASE}&step=preview&goal=chat&data={QUESTIONS}",
            "wizard-size": f"{self.model}/propose?base={BASE}&step=size&goal=chat&data={QUESTIONS}",
            "wizard-send": f"{self.model}/propose?base={BASE}&step=send&goal=chat&data={QUESTIONS}",
            "recipe": f"{self.model}/propose/recipe",
            "begin": f"{self.model}/begin",
            "begin-cost": f"{self.model}/begin?family=qwen3&size=1b&data={DATASET}&length=whole",
        }

    @property
    def moderator_pages(self) -> dict[str, str]:
        return {
            "queue": "/moderation",
            "queue-selected": "/moderation?select=page",
            "selected-to-refuse": f"/moderation/selected?case={self.case.rpartition('/')[2]}&case=1&case=9999&act=refused",
            "selected-to-dismiss": f"/moderation/selected?case=1&case={self.case.rpartition('/')[2]}&act=dismiss",
            "case": self.case,
            "closed-cases": "/moderation?state=decided",
            "audit-for-moderators": "/audit",
            "policy-for-moderators": "/policy",
        }

    @property
    def plain_words(self) -> dict[str, list[str]]:
        """Page -> words that stand on it without any script."""
        return {
            self.proposal: ["Not ready to merge yet", "Prepare", "Train", "Run it", "Conversation", "Give the review"],
            self.run: ["Prepare data", "Screen answers", "Record", "Recipe"],
            f"/{BASE}/playground": ["Your question", "Ask"],
            f"{self.model}/propose?base={BASE}": ["What should it learn to do?", "Next: choose the data"],
            f"{self.dataset}/upload": ["Choose files", "Where it goes"],
            f"{self.dataset}/blob/main/data/tides.csv": ["Bergen 39", "06:39"],
            f"{self.dataset}/discussions": ["How deep is it?"],
            self.case: ["Whose notes are these?"],
        }


def make_scenery(town: Town) -> Scenery:
    scenery = Scenery()
    ada, sam = town.client("ada"), town.client("sam")
    files = {
        "README.md": README.encode(),
        "data/tides.csv": CSV.encode(),
        f"notes/{LONG}": b"# Long\n",
        "train.jsonl": as_jsonl(PAIRS),
    }
    folder = str(write_files(town.folder / "harbour", files))
    ada.create_repo(DATASET, repo_type="dataset")
    made = ada.upload_folder(repo_id=DATASET, folder_path=folder, repo_type="dataset", commit_message="Notes of a year")
    scenery.commit = f"{scenery.dataset}/commit/{made.oid}"
    ada.create_repo(QUESTIONS, repo_type="dataset")
    ada.upload_file(path_or_fileobj=as_jsonl(PAIRS), path_in_repo="train.jsonl", repo_id=QUESTIONS, repo_type="dataset")
    ada.create_repo(CARELESS, repo_type="dataset")
    ada.upload_file(path_or_fileobj=PICKLE, path_in_repo="args.bin", repo_id=CARELESS, repo_type="dataset")
    ada.create_repo(PRIVATE, repo_type="dataset", private=True)
    ada.upload_file(path_or_fileobj=b"# Mine\n", path_in_repo="README.md", repo_id=PRIVATE, repo_type="dataset")
    ada.create_repo(MODEL)
    shelf = ada.create_collection("Harbours and the people who write about them", description="Notes, kept by hand")
    ada.add_collection_item(shelf.slug, DATASET, "dataset", note="The notes of a year, read by two people")
    ada.add_collection_item(shelf.slug, PRIVATE, "dataset")
    ada.add_collection_item(shelf.slug, BASE, "model")
    scenery.collection = f"/collections/{shelf.slug}"
    claim = f"- dataset: {{id: {DATASET}, task_id: high-water}}\n  value: 0.815\n  notes: {'read aloud ' * 12}\n"
    ada.upload_file(path_or_fileobj=claim.encode(), path_in_repo=".eval_results/harbour.yaml", repo_id=MODEL)
    talk = sam.create_discussion(DATASET, "How deep is it?", description="At **low** water.", repo_type="dataset")
    sam.comment_discussion(DATASET, talk.num, "```\n" + "a long line " * 30 + "\n```", repo_type="dataset")
    scenery.discussion = f"{scenery.dataset}/discussions/{talk.num}"
    small = sam.upload_file(
        path_or_fileobj=b"# Depths\n", path_in_repo="depths.md", repo_id=DATASET, repo_type="dataset", create_pr=True
    )
    scenery.small_proposal = f"{scenery.dataset}/discussions/{small.pr_num}"
    report = {"repo": DATASET, "type": "dataset", "text": "Whose notes are these?"}
    scenery.case = f"/moderation/cases/{town.api('POST', 'reports', 'sam', report)['id']}"
    body = {"repo": MODEL, "recipe": RECIPE, "title": "Learn the harbour", "description": "From my notes."}
    scenery.proposal = f"{scenery.model}/discussions/{town.api('POST', 'proposals', 'sam', body)['number']}"
    scenery.run = f"/runs/{await_run(town)}"
    return scenery


def await_run(town: Town) -> int:
    """The hub makes the run when it has built the candidate; it then waits for a maintainer."""
    deadline = time.monotonic() + RUN_S
    while time.monotonic() < deadline:
        runs = town.api("GET", f"runs?repo={MODEL}", "ada")
        if runs and runs[0]["state"] == "held":
            return int(runs[0]["id"])
        time.sleep(0.5)
    raise AssertionError(f"no run of {MODEL} waits after {RUN_S} s: {runs}")
