"""Releases: proposed, approved by two people without a stake, published by the gate, and from then on unchangeable."""

import re
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from hub.accounts.models import User
from hub.accounts.people import count_active_people
from hub.accounts.permissions import can, require
from hub.common.errors import Conflict, Forbidden, InvalidInput, NotFound
from hub.repos.clearance import Decision, decide
from hub.repos.commits import move_ref
from hub.repos.models import Content, Repo, RepoRelease
from hub.repos.places import pair
from hub.repos.publication import publish as publish_repo
from moderation import audit, gate, manifests, signing
from moderation.models import Release, ReleaseApproval
from moderation.policy import NEEDED_APPROVALS
from moderation.screening import AWAITS_RELEASE

# Source: https://semver.org, section "Is there a suggested regular expression", without build metadata
VERSION = re.compile(
    r"(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})(?:-[0-9A-Za-z-]{1,20}(?:\.[0-9A-Za-z-]{1,20}){0,3})?"
)
State = Release.State


def propose_release(*, repo: Repo, by: User, version: str, notes: str = "", commit: str | None = None) -> Release:
    """Look at everything, write the manifest, and wait for approvals. Raises Conflict naming every failed requirement."""
    require(by, "write", repo)
    version = version.strip().removeprefix("v")
    if not VERSION.fullmatch(version):
        raise InvalidInput(f"{version!r} is no semantic version; write three numbers, for example 1.0.0.")
    if repo.type != Repo.Type.MODEL:
        raise InvalidInput(f"{repo.full_name} is a {repo.type}; releases are made of models.")
    if repo.is_private:
        raise InvalidInput(f"{repo.full_name} is private; make it public before you release it.")
    members = pair(repo).members
    main = members.read_ref(f"refs/heads/{repo.default_branch}") or ""
    commit = commit or main
    if commit != main and not members.is_ancestor(commit, main):
        raise InvalidInput(f"A release is made of a commit of {repo.default_branch}; merge it first.")
    refuse_taken(repo, version)
    requirements = gate.inspect(repo, commit)
    failed = [item.sentence for item in requirements if item.state == gate.FAILED]
    if failed:
        raise Conflict("It cannot be released yet. " + " ".join(failed), reasons=failed)
    manifest = manifests.build(repo, commit, version, requirements)
    with transaction.atomic():
        Release.objects.filter(repo=repo, version=version, state=State.REFUSED).delete()
        try:
            with transaction.atomic():
                release = Release.objects.create(
                    repo=repo,
                    version=version,
                    commit=commit,
                    digest=manifests.digest(manifest),
                    manifest=manifest,
                    gate=[item.as_dict() for item in requirements],
                    notes=notes[:20_000],
                    proposed_by=by,
                )
        except IntegrityError:
            raise Conflict(f"The version {version} of {repo.full_name} was proposed a moment ago.") from None
        audit.record("release.proposed", f"{repo}@{release.tag}", by=by, is_public=True, digest=release.digest)
    if count_active_people() == 1:
        publish(release, is_reviewed=False)
        release.refresh_from_db()
    return release


def refuse_taken(repo: Repo, version: str) -> None:
    living = Release.objects.filter(repo=repo, version=version).exclude(state=State.REFUSED).first()
    if living is not None:
        raise Conflict(
            f"The version {version} exists already ({living.get_state_display().lower()}); choose the next one."
        )
    if pair(repo).members.read_ref(f"refs/tags/v{version}") is not None:
        raise Conflict(f"The tag v{version} exists already in {repo.full_name}; choose another version.")


def find_release(repo: Repo, tag: str, user: Any) -> Release:
    """Published ones for everybody who may read; the rest for members and moderators."""
    release = Release.objects.filter(repo=repo, version=tag.removeprefix("v")).select_related("repo").first()
    if release is None or not may_see(release, user):
        raise NotFound(f"There is no release {tag} of {repo.full_name}.")
    return release


def may_see(release: Release, user: Any) -> bool:
    return release.state in (State.PUBLISHED, State.YANKED, State.QUARANTINED) or can(
        user, "read_members", release.repo
    )


def why_not_approve(release: Release, user: Any) -> str:
    """Empty when `user` may approve, else the reason in a sentence."""
    if not getattr(user, "is_authenticated", False):
        return "Sign in to approve."
    if release.state != State.PROPOSED:
        return f"This release is {release.get_state_display().lower()}."
    if not (can(user, "review", release.repo) or can(user, "moderate")):
        return "People with write access to the repository, and moderators, approve releases."
    run = gate.find_run(release.repo, release.commit)
    if run is not None and user.pk in (
        run.proposed_by_id,
        run.pull_request.discussion.author_id if run.pull_request else None,
    ):
        return "You proposed what this release holds; others have to approve it."
    roles = {row["name"]: row["roles"] for row in release.manifest["contributors"]}.get(user.username, [])
    if any(role.startswith("brought data") for role in roles):
        return "You contributed data of this release; others have to approve it."
    if release.approvals.filter(by=user, digest=release.digest).exists():
        return "You approved it already."
    return ""


def approve(*, release: Release, by: User, text: str = "", digest: str = "") -> Release:
    """The second approval publishes."""
    require(by, "read", release.repo)
    with transaction.atomic():
        row = Release.objects.select_for_update().select_related("repo").get(pk=release.pk)
        reason = why_not_approve(row, by)
        if reason:
            raise Forbidden(reason)
        if digest and digest != row.digest:
            raise Conflict("The release has changed since you looked; reload the page.")
        ReleaseApproval.objects.create(release=row, by=by, digest=row.digest, text=text[:5000])
        audit.record("release.approved", f"{row.repo}@{row.tag}", by=by, is_public=True, digest=row.digest)
    if valid_approvals(row) >= NEEDED_APPROVALS:
        publish(row, is_reviewed=True)
    row.refresh_from_db()
    return row


def valid_approvals(release: Release) -> int:
    return release.approvals.filter(digest=release.digest).count()


def refuse(*, release: Release, by: User, reason: str) -> Release:
    """Take a proposed release back, with a reason."""
    if not (can(by, "write", release.repo) or can(by, "moderate")):
        require(by, "write", release.repo)
    if not reason.strip():
        raise InvalidInput("Give the reason in a sentence.")
    with transaction.atomic():
        row = Release.objects.select_for_update().get(pk=release.pk)
        if row.state != State.PROPOSED:
            raise Conflict(f"This release is {row.get_state_display().lower()}; it cannot be refused any more.")
        row.state, row.state_reason = State.REFUSED, reason.strip()
        row.save()
        audit.record("release.refused", f"{row.repo}@{row.tag}", by=by, reason=reason)
    return row


def publish(release: Release, *, is_reviewed: bool) -> None:
    """The gate itself: looks again, signs, tags, clears the weights, and shows the release to everybody.

    Idempotent from the tag on: a crash in between is finished by `finish_publishing`."""
    repo = release.repo
    failed = [item.sentence for item in gate.inspect(repo, release.commit) if item.state == gate.FAILED]
    if failed:
        raise Conflict("Something changed since it was proposed. " + " ".join(failed), reasons=failed)
    with transaction.atomic():
        row = Release.objects.select_for_update().get(pk=release.pk)
        if row.state != State.PROPOSED:
            return
        if is_reviewed and valid_approvals(row) < NEEDED_APPROVALS:
            raise Forbidden(f"A release needs {NEEDED_APPROVALS} approvals.")
        now = timezone.now()
        manifest = dict(row.manifest)
        manifest["approved_digest"] = row.digest
        manifest["approvals"] = [
            {"by": item.by.username, "at": item.at.isoformat(), "digest": item.digest}
            for item in row.approvals.select_related("by").order_by("pk")
        ]
        manifest["reviewed"] = is_reviewed
        manifest["published_at"] = now.isoformat()
        row.manifest, row.signature = manifest, signing.sign(manifests.canonical(manifest))
        row.state, row.is_reviewed, row.published_at = State.PUBLISHED, is_reviewed, now
        row.save()
        RepoRelease.objects.create(repo=repo, tag=row.tag, commit=row.commit, is_reviewed=is_reviewed, published_at=now)
        audit.record("release.published", f"{repo}@{row.tag}", is_public=True, digest=row.digest, reviewed=is_reviewed)
    finish_publishing(row)


def finish_publishing(release: Release) -> None:
    """Tag, clear and show what is published already. Safe to repeat."""
    repo = Repo.objects.get(pk=release.repo_id)
    ref = f"refs/tags/{release.tag}"
    if pair(repo).members.read_ref(ref) is None:
        move_ref(repo=repo, ref=ref, new=release.commit, expected=None, by=None, door="hub")
    shas = [f"sha256:{pin['sha256']}" for pin in release.manifest["files"].values()]
    waiting = Content.objects.filter(repo=repo, digest__in=shas[:900], reason=AWAITS_RELEASE)
    decide(repo, [Decision(content, Content.Clearance.CLEARED) for content in waiting], publish_now=False)
    publish_repo(repo)


@transaction.atomic
def set_state(*, release: Release, by: User, state: str, reason: str) -> Release:
    """Yank (a maintainer or moderator), quarantine or lift (a moderator): with a reason, in public, never deleted."""
    needs_moderator = State.QUARANTINED in (state, release.state)
    if needs_moderator:
        require(by, "moderate")
    elif not can(by, "moderate"):
        require(by, "admin", release.repo)
    if state not in (State.PUBLISHED, State.YANKED, State.QUARANTINED):
        raise InvalidInput(f"A release can be published, yanked or quarantined, not {state!r}.")
    if not reason.strip():
        raise InvalidInput("Give the reason in a sentence; everybody who uses the release reads it.")
    row = Release.objects.select_for_update().select_related("repo").get(pk=release.pk)
    if row.state in (State.PROPOSED, State.REFUSED):
        raise Conflict("This release was never published.")
    row.state, row.state_reason = state, reason.strip()
    row.save(update_fields=["state", "state_reason"])
    RepoRelease.objects.filter(repo=row.repo, tag=row.tag).update(state=state, reason=reason.strip())
    audit.record(f"release.{state}", f"{row.repo}@{row.tag}", by=by, is_public=True, reason=reason)
    transaction.on_commit(lambda: publish_repo(row.repo, is_withdrawal=state == State.QUARANTINED))
    return row


def finish_interrupted() -> int:
    """Published rows whose tag a crash left out."""
    count = 0
    for release in Release.objects.filter(state=State.PUBLISHED).select_related("repo"):
        if pair(release.repo).members.read_ref(f"refs/tags/{release.tag}") is None:
            finish_publishing(release)
            count += 1
    return count
