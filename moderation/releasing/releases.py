"""Releases: proposed, approved by two people without a stake, and then published by the gate (moderation.releasing.publishing)."""

import re
from collections.abc import Iterable
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from hub.accounts.models import User
from hub.accounts.people import count_active_people
from hub.accounts.permissions import can, require
from hub.common.errors import Conflict, Forbidden, HubError, InvalidInput, NotFound
from hub.community.listeners import notify
from hub.repos.channels import CANDIDATE, STABLE, belongs_to, choose_offered
from hub.repos.models import Repo, RepoRelease
from hub.repos.places import pair
from moderation import audit, gate
from moderation.models import Release, ReleaseApproval
from moderation.people import maintainers_of
from moderation.releasing import manifests
from moderation.releasing.publishing import (
    check_releasable,
    may_judge,
    needed_approvals,
    path_of,
    publish,
    valid_approvals,
)
from moderation.releasing.stakes import refuse_own_exceptions, why_has_stake, write_down
from moderation.rules.policies import in_force
from training.models import Run

# Source: https://semver.org, section "Is there a suggested regular expression", without build metadata
VERSION = re.compile(
    r"(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})(?:-[0-9A-Za-z-]{1,20}(?:\.[0-9A-Za-z-]{1,20}){0,3})?"
)
MAX_NOTES_CHARACTERS = 20_000
MAX_TEXT_CHARACTERS = 5_000
State = Release.State
SHOWN_STATES = (State.PUBLISHED, State.YANKED, State.QUARANTINED)


def propose_release(*, repo: Repo, by: User, version: str, notes: str = "", commit: str | None = None) -> Release:
    """Look at everything, write the manifest, and wait for approvals. Raises Conflict naming every failed requirement."""
    require(by, "write", repo)
    version = check_version(version)
    check_releasable(repo)
    commit = choose_commit(repo, commit)
    refuse_taken(repo, version)
    standing = in_force()
    requirements = gate.inspect(repo, commit, policy=standing.policy)
    failed = [item.sentence for item in requirements if item.state == gate.FAILED]
    if failed:
        raise Conflict("It cannot be released yet. " + " ".join(failed), reasons=failed)
    manifest = manifests.build(repo, commit, version, requirements, standing)
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
                    notes=notes.strip()[:MAX_NOTES_CHARACTERS],
                    proposed_by=by,
                )
                write_down(release)
                refuse_own_exceptions(release)
        except IntegrityError:
            raise Conflict(f"The version {version} of {repo.full_name} was proposed a moment ago.") from None
        audit.record("release.proposed", f"{repo}@{release.tag}", by=by, is_public=True, digest=release.digest)
    if count_active_people() == 1:
        publish(release)
        release.refresh_from_db()
    else:
        text = f"{by} proposed to release {repo} {release.tag}; it needs {needed_approvals(release)} approvals."
        notify(list(maintainers_of(repo)), text, path_of(release), actor=by)
    return release


def check_version(version: str) -> str:
    """The version without the "v" of its tag. Raises InvalidInput."""
    version = version.strip().removeprefix("v")
    if not VERSION.fullmatch(version):
        raise InvalidInput(f"{version[:60]!r} is no semantic version; write three numbers, for example 1.0.0.")
    return version


def choose_commit(repo: Repo, commit: str | None) -> str:
    """The commit to release: the head of the main branch, or one that it holds. Raises InvalidInput."""
    members = pair(repo).members
    main = members.read_ref(f"refs/heads/{repo.default_branch}")
    if main is None:
        raise InvalidInput(f"{repo.full_name} has no branch {repo.default_branch}; commit something first.")
    commit = (commit or "").strip() or main
    if commit != main and not (re.fullmatch(r"[0-9a-f]{40}", commit) and members.has_commit(commit)):
        raise InvalidInput(f"There is no commit {commit[:60]!r} in {repo.full_name}; give its full id.")
    if commit != main and not members.is_ancestor(commit, main):
        raise InvalidInput(f"A release is made of a commit of {repo.default_branch}; merge it first.")
    return commit


def refuse_taken(repo: Repo, version: str) -> None:
    living = Release.objects.filter(repo=repo, version=version).exclude(state=State.REFUSED).first()
    if living is not None:
        raise Conflict(
            f"The version {version} exists already ({living.get_state_display().lower()}); choose the next one."
        )
    members = pair(repo).members
    for kind in ("tags", "heads"):
        if members.read_ref(f"refs/{kind}/v{version}") is not None:
            what = "tag" if kind == "tags" else "branch"
            raise Conflict(f"The {what} v{version} exists already in {repo.full_name}; choose another version.")


def find_release(repo: Repo, tag: str, user: Any) -> Release:
    """Published ones for everybody who may read; the rest for members and moderators."""
    version = tag.removeprefix("v")
    rows = Release.objects.filter(repo=repo, version=version).select_related("proposed_by")
    release = rows.first() if VERSION.fullmatch(version) else None
    if release is None or not may_see(release, user):
        raise NotFound(f"There is no release {tag[:60]!r} of {repo.full_name}.")
    release.repo = repo
    tell_standing(repo, [release])
    return release


def tell_standing(repo: Repo, rows: Iterable[Release]) -> None:
    """Give each `withdrawn`, what it contains that was taken back since, and `superseded_by`, the tag of the newer release
    of its channel that is published; both "" for none."""
    shown = {row.tag: row for row in RepoRelease.objects.filter(repo=repo).order_by("-published_at", "-pk")}
    for release in rows:
        row = shown.get(release.tag)
        channel = STABLE if belongs_to(release.tag, STABLE) else CANDIDATE
        offered = [other for other in shown.values() if other.state == State.PUBLISHED]
        newest = choose_offered(offered, channel)
        is_behind = row is not None and newest is not None and newest.published_at > row.published_at
        release.withdrawn = row.withdrawn if row is not None else ""  # type: ignore[attr-defined]
        release.superseded_by = newest.tag if is_behind and newest is not None else ""  # type: ignore[attr-defined]


def find_run_of(release: Release) -> Run | None:
    """The run that made it; None for weights that people brought."""
    rows = Run.objects.filter(pk=release.manifest.get("run") or 0, repo=release.repo_id)
    return rows.select_related("repo__owner_user", "repo__owner_organization", "pull_request__discussion").first()


def may_see(release: Release, user: Any) -> bool:
    return release.state in SHOWN_STATES or can(user, "read_members", release.repo)


def visible_releases(repo: Repo, user: Any) -> QuerySet[Release]:
    """Newest first."""
    rows = Release.objects.filter(repo=repo).select_related("proposed_by").prefetch_related("approvals__by")
    rows = rows.defer("manifest", "gate", "signature", "model_signature", "provenance")  # a manifest lists every file
    if not can(user, "read_members", repo):
        rows = rows.filter(state__in=SHOWN_STATES)
    return rows.order_by("-created_at", "-pk")


def why_not_approve(release: Release, user: Any) -> str:
    """Empty when `user` may approve, else the reason in a sentence."""
    if not getattr(user, "is_authenticated", False):
        return "Sign in to approve."
    if release.state != State.PROPOSED:
        return f"This release is {release.get_state_display().lower()}."
    if not may_judge(user, release.repo):
        return "People with write access to the repository, and moderators, approve releases."
    stake = why_has_stake(release, user)
    if stake:
        return stake
    if release.approvals.filter(by=user, digest=release.digest).exists():
        return "You approved it already."
    return ""


def approve(*, release: Release, by: User, text: str = "", digest: str = "") -> Release:
    """The second approval publishes. A stated `digest` must still be the release's."""
    require(by, "read", release.repo)
    with transaction.atomic():
        row = Release.objects.select_for_update().select_related("repo").get(pk=release.pk)
        reason = why_not_approve(row, by)
        if reason:
            raise Forbidden(reason)
        if digest and digest != row.digest:
            raise Conflict("The release has changed since you looked; reload the page.")
        ReleaseApproval.objects.create(release=row, by=by, digest=row.digest, text=text.strip()[:MAX_TEXT_CHARACTERS])
        audit.record("release.approved", f"{row.repo}@{row.tag}", by=by, is_public=True, digest=row.digest)
    if len(valid_approvals(row)) >= needed_approvals(row):
        try:
            publish(row)
        except HubError as problem:  # the approval stands, and the gate tries again when the cause is mended
            Release.objects.filter(pk=row.pk, state=State.PROPOSED).update(state_reason=problem.message)
            raise
    row.refresh_from_db()
    return row


def publish_unreviewed(*, release: Release, by: User) -> Release:
    """On a hub with one person, who cannot find an approver. Raises Forbidden where somebody else could approve."""
    require(by, "write", release.repo)
    if release.state != State.PROPOSED:
        raise Conflict(f"This release is {release.get_state_display().lower()} already.")
    publish(release)
    release.refresh_from_db()
    return release


def refuse(*, release: Release, by: User, reason: str) -> Release:
    """Take a proposed release back, with a reason."""
    if not can(by, "moderate"):
        require(by, "write", release.repo)
    if not reason.strip():
        raise InvalidInput("Give the reason in a sentence.")
    with transaction.atomic():
        row = Release.objects.select_for_update(of=("self",)).select_related("repo", "proposed_by").get(pk=release.pk)
        if row.state != State.PROPOSED:
            raise Conflict(f"This release is {row.get_state_display().lower()}; it cannot be refused any more.")
        row.state, row.state_reason = State.REFUSED, reason.strip()[:MAX_TEXT_CHARACTERS]
        row.save(update_fields=["state", "state_reason"])
        audit.record("release.refused", f"{row.repo}@{row.tag}", by=by, is_public=True, reason=row.state_reason)
        notify([row.proposed_by], f"{by} took {row.repo} {row.tag} back: {row.state_reason}", path_of(row), actor=by)
    return row
