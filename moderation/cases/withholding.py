"""A moderator's word about one file that a report or an earlier decision speaks of: withheld, or shown again.

Each is a case of its own, decided at once: its people read the reason, it stands in the log, and they can appeal."""

from django.db import transaction

from hub.accounts.models import User
from hub.accounts.permissions import require
from hub.common.errors import Conflict, Forbidden, InvalidInput, NotFound
from hub.repos.models import Content, Repo
from hub.repos.places import pair
from hub.repos.reader import digest_of
from hub.storage.errors import StorageError
from moderation.cases.case_stakes import why_has_stake
from moderation.cases.queue import SEVERITY, State, decide_case
from moderation.models import Case

# act -> what the case of the file becomes
ACTS = {"withhold": State.REFUSED.value, "restore": State.ALLOWED.value}
WITHHELD = Content.Clearance.WITHHELD


@transaction.atomic
def judge_file(*, case: Case, by: User, act: str, reason: str, path: str = "", clause: str = "") -> Case:
    """`withhold` or `restore` a file of the case's repository; returns the case of the file.

    Raises Forbidden for who has a stake, NotFound for a file that is not there, Conflict where it is so already."""
    require(by, "moderate")
    if act not in ACTS:
        raise InvalidInput(f"A file can be withheld or restored, not {act!r}; send {' or '.join(ACTS)}.")
    if problem := why_has_stake(case, by):
        raise Forbidden(problem)
    content = find_file(case, path)
    if (content.clearance == WITHHELD) == (act == "withhold"):
        raise Conflict(f"{content.path} is {content.get_clearance_display().lower()} already.")
    own = Case.objects.filter(content=content, kind=Case.Kind.CONTENT, state=State.OPEN).first()
    own = own or Case.objects.create(
        kind=Case.Kind.CONTENT,
        severity=SEVERITY[WITHHELD],
        repo=case.repo,
        title=f"{content.path}: {reason}"[:300],
        content=content,
        subject={"follows": case.pk},
    )
    return decide_case(case=own, by=by, state=ACTS[act], reason=reason, clause=clause)


def find_file(case: Case, path: str) -> Content:
    """The content that the case is about; of a report, the one at `path` or at the path that was reported."""
    if case.content is not None:
        return case.content
    path = (path or case.subject.get("path", "")).strip().strip("/")
    for revision in (case.subject.get("revision", ""), case.repo.head):
        content = content_at(case.repo, revision, path) if revision and path else None
        if content is not None:
            return content
    raise NotFound(f"There is no file {path[:200]!r} in {case.repo}; write its path as the list of files shows it.")


def content_at(repo: Repo, revision: str, path: str) -> Content | None:
    members = pair(repo).members
    try:
        entry = members.entry(members.resolve(revision), path)
    except StorageError:
        return None
    if entry is None or entry.type != "file":
        return None
    return Content.objects.filter(repo=repo, digest=digest_of(entry)).select_related("repo").first()
