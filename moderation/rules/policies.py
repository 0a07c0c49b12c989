"""The policy in force: read from the public main branch of the hub's policy repository, and kept as it was read, so that
every verdict can name it and be computed again."""

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core.cache import cache
from django.db import IntegrityError, transaction
from django.utils import timezone

from hub.community.candidates import people_behind
from hub.community.listeners import notify
from hub.community.models import PullRequest
from hub.community.reviews import valid_approvals
from hub.repos.models import Repo
from hub.repos.places import pair
from hub.storage.errors import StorageError
from hub.storage.git import GitRepo
from moderation import audit
from moderation.models import AuditEntry, PolicyVersion
from moderation.people import moderators
from moderation.rules.policy_file import (
    FILE,
    LEAST_APPROVALS,
    Policy,
    PolicyError,
    digest_of_text,
    packaged_text,
    parse_policy,
)

log = logging.getLogger(__name__)

TOLD_FOR_S = 86400  # the log is asked again at most this often
TRIES = 8  # of two that note the same change one tries again


@dataclass(frozen=True)
class Standing:
    """A policy and where it stands."""

    policy: Policy
    number: int
    repository: str  # "" = the file that comes with the hub
    commit: str
    digest: str

    def name(self) -> dict[str, str]:
        """What a verdict says of the policy that it rests on."""
        return {"repository": self.repository, "commit": self.commit, "file": FILE, "digest": self.digest}


def find_repository() -> Repo | None:
    return Repo.objects.for_listing().filter(is_policy=True).first()


def in_force() -> Standing:
    """The policy by which verdicts are reached now. What has changed since somebody last asked is noted."""
    for _ in range(TRIES):
        last = PolicyVersion.objects.order_by("-number").first()
        repo = find_repository()
        if last is not None and is_current(last, repo):
            return stand(last)
        if last is not None and repo is not None and is_taken_back(last, repo):
            # No pull request changed the rules: something in their history was withheld, and what the public sees moved back.
            tell_of_older(last, repo)
            return stand(last)
        text = read_text(pair(repo).public, repo.public_head) if repo is not None and repo.public_head else b""
        if repo is not None and not is_readable(text):
            # Nobody can merge such a file, so what was in force was taken from the public: it stays in force.
            log.warning("%s shows no %s that can be read; the policy stays as it was", repo, FILE)
            if last is not None:
                return stand(last)
            repo = None
        row = note_version(last, repo, text if repo is not None else packaged_text())
        if row is not None:
            return stand(row)
    raise RuntimeError("The policy in force could not be noted; nothing was decided.")


def tell_of_older(last: PolicyVersion, repo: Repo) -> None:
    """That the public sees an older text than the one in force: to the log and to the moderators, once for each such text."""
    said = {"number": last.number, "shown": repo.public_head}
    if not cache.add(f"older-policy:{last.number}:{repo.public_head}", 1, timeout=TOLD_FOR_S):
        return
    if AuditEntry.objects.filter(
        action="policy.shows_older", data__shown=repo.public_head, data__number=last.number
    ).exists():
        return
    log.warning("%s shows an older policy than the one in force; the policy stays as it was", repo)
    audit.record("policy.shows_older", repo.full_name, is_public=True, **said)
    text = (
        f"{repo} shows an older text than version {last.number}, by which this hub judges: something in its history was "
        f"withheld. Version {last.number} stays in force; propose the rules anew so that everybody can read them."
    )
    notify(list(moderators()), text, f"{repo.path}/discussions")


def is_current(last: PolicyVersion, repo: Repo | None) -> bool:
    if repo is None:
        return is_packaged(last)
    return (last.key, last.commit) == (repo.key, repo.public_head)


def is_taken_back(last: PolicyVersion, repo: Repo) -> bool:
    """Whether the public sees only what the text in force was built upon."""
    members = pair(repo).members
    if last.key != repo.key or not repo.public_head or not members.has_commit(last.commit):
        return False
    return members.is_ancestor(repo.public_head, last.commit)


def is_packaged(row: PolicyVersion) -> bool:
    """Whether it is the file that this program brings, not that of an older one."""
    return not row.key and row.digest == digest_of_text(packaged_text())


def is_readable(text: bytes) -> bool:
    try:
        parse_policy(text)
    except PolicyError:
        return False
    return True


def read_text(git: GitRepo, commit: str) -> bytes:
    """The bytes of policy.yaml; none where a commit has no such file, or not as plain text."""
    try:
        entry = git.entry(commit, FILE)
        is_file = entry is not None and entry.type == "file" and entry.lfs is None
        return git.read_blob(entry.oid) if entry is not None and is_file else b""
    except StorageError:
        return b""


def note_version(last: PolicyVersion | None, repo: Repo | None, text: bytes) -> PolicyVersion | None:
    """Write down what is in force from now on. None where somebody else wrote at the same moment."""
    row = PolicyVersion(
        number=last.number + 1 if last is not None else 1,
        at=timezone.now(),
        repository=repo.full_name if repo is not None else "",
        key=repo.key if repo is not None else "",
        commit=repo.public_head if repo is not None else "",
        digest=digest_of_text(text),
        text=text.decode(),
    )
    proposal = find_proposal(repo, row.commit) if repo is not None else None
    if proposal is not None:
        row.pull_request, row.people = proposal.discussion.number, people_of(proposal)
    try:
        with transaction.atomic():
            row.save(force_insert=True)
            if repo is not None and (last is None or last.digest != row.digest):
                said = {"commit": row.commit, "digest": row.digest, "pull_request": row.pull_request, **row.people}
                audit.record("policy.changed", row.repository, is_public=True, number=row.number, **said)
    except IntegrityError:
        return None
    return row


def find_proposal(repo: Repo, commit: str) -> PullRequest | None:
    rows = PullRequest.objects.select_related("discussion__repo", "discussion__author", "merged_by")
    return rows.filter(discussion__repo=repo, merge_commit=commit).first()


def people_of(proposal: PullRequest) -> dict[str, Any]:
    behind = set(people_behind(proposal))
    given = [row for row in valid_approvals(proposal) if row.by_id not in behind]
    return {
        "author": getattr(proposal.discussion.author, "username", ""),
        "approved": [row.by.username for row in given],
        "merged": getattr(proposal.merged_by, "username", ""),
    }


def stand(row: PolicyVersion) -> Standing:
    policy = parse_policy(row.text.encode())
    return Standing(policy, row.number, row.repository, row.commit, row.digest)


def in_force_at(moment: datetime) -> PolicyVersion | None:
    return PolicyVersion.objects.filter(at__lte=moment).order_by("-number").first()


def find_by_digest(digest: str) -> PolicyVersion | None:
    """What a verdict names: the text is that of the digest, or it was tampered with."""
    row = PolicyVersion.objects.filter(digest=digest).order_by("number").first()
    return row if row is not None and digest_of_text(row.text.encode()) == digest else None


def find_version(named: Any) -> PolicyVersion | None:
    """The version that a verdict names, by its commit as well: two may hold the same text."""
    if not isinstance(named, dict):
        return None
    digest, commit = str(named.get("digest", "")), str(named.get("commit", ""))
    exact = PolicyVersion.objects.filter(digest=digest, commit=commit).order_by("number").first()
    return exact or find_by_digest(digest)


def approvals_asked_by(manifest: dict[str, Any]) -> int:
    """How many a release needed by the policy that its manifest names; never fewer than the database asks for."""
    policy = manifest.get("policy")
    values = policy.get("values", {}) if isinstance(policy, dict) else {}
    return max(LEAST_APPROVALS, int(values.get("who_decides", {}).get("release_approvals", LEAST_APPROVALS)))


def named_in(named: Any) -> Policy | None:
    """The policy that a stored verdict names; that of the hub's own file for verdicts from before there were others. None
    where its text is gone or was changed."""
    if not isinstance(named, dict):
        return parse_policy(packaged_text())
    row = find_by_digest(str(named.get("digest", "")))
    return parse_policy(row.text.encode()) if row is not None else None
