"""What of a repository strangers do not see, why, and the way out: a main branch without the commits that are in the way.

A commit is public when its text and that of all its ancestors is cleared. So a file with a secret keeps back everything
that was committed after it, even when a later commit removes the file: its bytes stay in the history."""

from dataclasses import dataclass, field

from hub.accounts.models import User
from hub.accounts.permissions import require
from hub.common.errors import Conflict, InvalidInput
from hub.repos.commits import author_of, create_commit, move_ref
from hub.repos.models import Content, Repo, Revision, RevisionContent
from hub.repos.places import pair
from hub.repos.reader import digest_of
from hub.storage.git import ANY, AddFile, CopyFile, DeleteFile, GitRepo
from moderation import audit
from moderation.cases.queue import State, resolve_case
from moderation.gate import contents_by_digest
from moderation.models import Case
from moderation.rules.reasons import AWAITS_RELEASE, IN_PROGRESS

SQL_BATCH = 500
MAX_LARGE = 500  # large files looked up in the tree
MAX_CO_AUTHORS = 50
WORK_REF = "refs/convert/clean_history"


@dataclass(frozen=True)
class Hidden:
    """Of the main branch, as its members have it."""

    commits: list[str] = field(default_factory=list)  # not public, oldest first
    held: list[Content] = field(default_factory=list)  # files that a person has to do something about
    in_progress: int = 0
    awaiting_release: int = 0

    @property
    def files(self) -> int:
        return len(self.held) + self.in_progress + self.awaiting_release


def find_hidden(repo: Repo) -> Hidden:
    """What of the main branch is not public, and the files that are the reason."""
    members = pair(repo).members
    head = members.read_ref(f"refs/heads/{repo.default_branch}")
    if head is None:
        return Hidden()
    commits = members.ancestors_not_in(head, [repo.public_head] if repo.public_head else [])
    texts = uncleared_texts(repo, commits)
    rows = [*texts, *uncleared_large(repo, head)]
    held = [row for row in rows if row.reason not in ("", IN_PROGRESS, AWAITS_RELEASE)]
    return Hidden(
        commits=commits,
        held=sorted(held, key=lambda row: (row.clearance != Content.Clearance.WITHHELD, row.path)),
        in_progress=sum(row.reason in ("", IN_PROGRESS) for row in rows),
        awaiting_release=sum(row.reason == AWAITS_RELEASE for row in rows),
    )


def uncleared_texts(repo: Repo, commits: list[str]) -> list[Content]:
    found: dict[int, Content] = {}
    for start in range(0, len(commits), SQL_BATCH):
        rows = RevisionContent.objects.filter(
            revision__repo=repo,
            revision__commit__in=commits[start : start + SQL_BATCH],
            content__digest__startswith="git:",
        ).exclude(content__clearance=Content.Clearance.CLEARED)
        found.update({row.content_id: row.content for row in rows.select_related("content")})
    return list(found.values())


def uncleared_large(repo: Repo, head: str) -> list[Content]:
    """Those that the head still holds where they were first seen."""
    members = pair(repo).members
    rows = Content.objects.filter(repo=repo, digest__startswith="sha256:").exclude(clearance=Content.Clearance.CLEARED)
    found = []
    for row in rows.order_by("-pk")[:MAX_LARGE]:
        entry = members.entry(head, row.path)
        if entry is not None and entry.type == "file" and digest_of(entry) == row.digest:
            found.append(row)
    return found


def why_not_clean(repo: Repo, hidden: Hidden) -> str:
    """Empty when the history can be made clean, else the reason in a sentence."""
    if repo.is_private or not repo.public_head:
        return "Nothing of this repository is public, so nothing is in the way of it."
    if repo.has_release_policy:
        return "The history of this model belongs to its releases; ask a moderator about the file."
    if not any(not row.is_large for row in hidden.held):
        return "No text that is held back stands in the history."
    return ""


def clean_history(*, repo: Repo, by: User) -> Revision:
    """Put the present files, without those that are held back, as one commit on the newest public one.

    The commits in between leave the main branch; open pull requests and other branches keep theirs. Raises Conflict
    when somebody commits at the same moment."""
    require(by, "admin", repo)
    hidden = find_hidden(repo)
    reason = why_not_clean(repo, hidden)
    if reason:
        raise InvalidInput(reason)
    members = pair(repo).members
    head = hidden.commits[-1]
    operations, left_out = list_operations(repo, repo.public_head, head)
    members.move_ref(WORK_REF, None, ANY)  # what a crash may have left
    count = len(hidden.commits)
    made = create_commit(
        repo=repo,
        by=by,
        ref=WORK_REF,
        operations=operations,
        title=f"Take {count} commit{'s' if count > 1 else ''} out of the history",
        description=describe(members, hidden.commits, left_out, by),
        base=repo.public_head,
        door="hub",
    )
    try:
        move_ref(repo=repo, ref=f"refs/heads/{repo.default_branch}", new=made.commit, expected=head, by=by, door="hub")
    except Conflict:
        raise Conflict("Somebody committed at the same moment; look again at what is hidden now.") from None
    finally:
        members.move_ref(WORK_REF, None, ANY)
    settle(repo, by, hidden, head, made)
    return made


def describe(members: GitRepo, commits: list[str], left_out: list[str], by: User) -> str:
    """What was left out, and everybody whose commits became this one, as git and its tools know it."""
    own = author_of(by).email
    authors = {info.author.email: info.author.name for info in map(members.commit_info, commits)}
    others = [f"Co-authored-by: {name} <{email}>" for email, name in authors.items() if email != own]
    parts = ["Left out: " + ", ".join(left_out[:50])] if left_out else []
    return "\n\n".join([*parts, *(["\n".join(others[:MAX_CO_AUTHORS])] if others else [])])


def list_operations(repo: Repo, base: str, head: str) -> tuple[list[AddFile | CopyFile | DeleteFile], list[str]]:
    """What leads from `base` to the files of `head`, and the paths that are left out because they are not cleared."""
    members = pair(repo).members
    changes = members.changes(base, head)
    entries = {
        change.path: entry
        for change in changes
        if change.kind != "deleted" and (entry := members.entry(head, change.path)) is not None
    }
    facts = contents_by_digest(repo, [f"git:{entry.oid}" for entry in entries.values()])
    operations: list[AddFile | CopyFile | DeleteFile] = []
    left_out = []
    for change in changes:
        entry = entries.get(change.path)
        if entry is None:
            operations.append(DeleteFile(change.path))
            continue
        fact = facts.get(f"git:{entry.oid}")
        if fact is not None and fact.clearance == Content.Clearance.CLEARED:
            operations.append(CopyFile(head, change.path, change.path))
        else:
            left_out.append(change.path)
    return operations, left_out


def settle(repo: Repo, by: User, hidden: Hidden, head: str, made: Revision) -> None:
    """The log, and the cases of files that nobody has to decide about any more."""
    audit.record(
        "history.cleaned", str(repo), by=by, is_public=not repo.is_private, before=head, after=made.commit,
        commits=len(hidden.commits),
    )  # fmt: skip
    gone = [row.pk for row in hidden.held if not row.is_large]
    for case in Case.objects.filter(content__in=gone, state=State.OPEN).select_related("repo"):
        resolve_case(case, f"{by} took the file out of the history.")
