"""The suites that hold the tests of reports: found, made, and given one more row."""

import json
from typing import Any

from hub.accounts.models import User
from hub.accounts.people import hub_account
from hub.accounts.permissions import can, require
from hub.common.errors import EntryNotFound, Forbidden, InvalidInput, NotFound
from hub.community.contributions import commit, reader_for
from hub.community.models import PullRequest
from hub.repos.commits import create_commit
from hub.repos.find import find_repo
from hub.repos.lifecycle import create_repo
from hub.repos.models import Repo
from hub.repos.reader import RepoReader
from hub.storage.git import AddFile
from moderation.models import Case
from training.engine.errors import EngineError
from training.engine.evals.suite import MAX_CHECKS, Suite, Task, parse_description

FILE = "reports.jsonl"
TASK = f"  - {{name: reports, kind: checks, file: {FILE}, max_new_tokens: 256}}\n"
MAX_FILE_BYTES = 4 << 20
CARD = """\
---
license: cc0-1.0
tags: [evaluation]
---

# Tests of {model}

Each row of `{file}` was a report of somebody to whom the model gave a bad answer. Every release of {model} is put to all of
them; a report closes when a release passes its row.
"""


def open_suite(case: Case, by: User) -> Repo:
    """A new dataset repository for the tests of this model, with the model's owner. Where `by` may make none there, the hub
    makes it, and what `by` adds is a proposal to its owner."""
    owner = case.repo.owner
    may_create = can(by, "create_repo", owner)
    if case.repo.is_private and not may_create and not can(by, "moderate"):
        raise Forbidden(
            f"The tests of a private model lie with its owner; ask an admin of {owner.name} to make this one."
        )
    maker = by if may_create else hub_account()
    name = f"{case.repo.name[:80]}-reports"
    try:
        return find_repo("dataset", f"{owner.name}/{name}", by)  # made before, and its first row was refused
    except NotFound:
        suite = create_repo(
            type="dataset",
            name=name,
            by=maker,
            owner=owner,
            is_private=case.repo.is_private,
            description=f"Tests that reports on {case.repo.full_name} became",
        )
    description = f'version: 1\nname: "Reports on {case.repo.full_name}"\ntasks:\n{TASK}'
    card = CARD.format(model=case.repo.full_name, file=FILE)
    create_commit(
        repo=suite,
        by=maker,
        ref=f"refs/heads/{suite.default_branch}",
        operations=[AddFile("suite.yaml", description.encode()), AddFile("README.md", card.encode())],
        title="A suite for the tests of reports",
        door="hub",
    )
    suite.refresh_from_db()
    return suite


def add_row(suite: Repo, by: User, row: dict[str, Any]) -> PullRequest | None:
    """One more row: a commit where `by` may write, else a pull request, which is returned. Raises HubError."""
    require(by, "propose", suite)
    reader = reader_for(suite, by)
    head = reader.resolve(suite.default_branch)
    described, task = read_suite(reader, head)
    files = (
        {} if task.name in {one.name for one in described.tasks} else {"suite.yaml": with_task(reader, head, described)}
    )
    before = read_text(reader, head, task.file)
    if before.count("\n") >= MAX_CHECKS or len(before.encode()) > MAX_FILE_BYTES:
        raise InvalidInput(f"{task.file} of {suite.full_name} is full; name another suite.")
    begun = before if not before or before.endswith("\n") else before + "\n"
    files[task.file] = begun + json.dumps(row, ensure_ascii=False) + "\n"
    return write(suite, by, files, "A report becomes a test", parent=head)


def write(suite: Repo, by: User, files: dict[str, str], title: str, parent: str | None = None) -> PullRequest | None:
    may_write = can(by, "write", suite)
    made = commit(
        repo=suite,
        by=by,
        revision=None,
        operations=[AddFile(path, text.encode()) for path, text in files.items()],
        title=title,
        expected_parent=parent if may_write else None,
        create_pr=not may_write,
        door="hub",
    )
    return made.pull_request


def read_suite(reader: RepoReader, head: str) -> tuple[Suite, Task]:
    """The suite and its task of kind checks; one that is to be added where it has none. Raises InvalidInput."""
    name = reader.repo.full_name
    text = read_text(reader, head, "suite.yaml")
    if not text:
        raise InvalidInput(f"{name} is no suite: it has no suite.yaml that you may read.")
    try:
        described = parse_description(text.encode())
    except EngineError as problem:
        raise InvalidInput(f"The suite.yaml of {name} cannot be read: {problem}") from None
    found = next((task for task in described.tasks if task.kind == "checks"), None)
    return described, found or parse_description(f"version: 1\nname: x\ntasks:\n{TASK}".encode()).tasks[0]


def with_task(reader: RepoReader, head: str, described: Suite) -> str:
    """suite.yaml with the task at its end. Raises InvalidInput where that would not be what it says."""
    text = read_text(reader, head, "suite.yaml").rstrip("\n") + "\n" + TASK
    try:
        changed = parse_description(text.encode())
        is_whole = len(changed.tasks) == len(described.tasks) + 1 and changed.tasks[:-1] == described.tasks
    except EngineError:
        is_whole = False
    if not is_whole:
        raise InvalidInput(
            f"Add this line below 'tasks:' in suite.yaml of {reader.repo.full_name} first: {TASK.strip()}"
        )
    return text


def read_text(reader: RepoReader, head: str, path: str) -> str:
    """The empty text where there is no such file."""
    try:
        return reader.read_bytes(head, path, limit=MAX_FILE_BYTES).decode("utf-8", errors="replace")
    except EntryNotFound:
        return ""
