"""Channels: revisions that the hub itself answers. `stable` leads to the newest published release with a plain version,
`candidate` to the newest published one whatever stands behind its version (v1.2.0-rc.1). Yanked and quarantined ones are
passed over."""

import re
from collections.abc import Iterable

from django.db.models import Q

from hub.common.errors import ReleaseDisabled
from hub.repos.models import Repo, RepoRelease

STABLE, CANDIDATE = "stable", "candidate"
CHANNELS = (STABLE, CANDIDATE)
RELEASED = re.compile(r"v\d[^/]*|[0-9a-f]{40}")  # what can be the tag or the commit of a release


def belongs_to(tag: str, channel: str) -> bool:
    """Whether a published release of this tag can be what the channel leads to."""
    return channel == CANDIDATE or "-" not in tag


def find_offered(repo: Repo, channel: str) -> RepoRelease | None:
    """The release that a channel leads to at this moment."""
    rows = repo.public_releases.filter(state=RepoRelease.State.PUBLISHED).order_by("-published_at", "-pk")
    return choose_offered(rows, channel)


def choose_offered(newest_first: Iterable[RepoRelease], channel: str) -> RepoRelease | None:
    return next((row for row in newest_first if belongs_to(row.tag, channel)), None)


def refuse_quarantined(repo: Repo, revision: str) -> None:
    """Raises ReleaseDisabled for a release that was given out and is closed now, by its tag or its commit: who pinned it
    has to learn that it was taken back, and not that it never was."""
    tag = revision.removeprefix("refs/tags/")
    if not RELEASED.fullmatch(tag):
        return
    rows = repo.public_releases.filter(state=RepoRelease.State.QUARANTINED)
    row = rows.filter(Q(tag=tag) | Q(commit=revision)).first()
    if row is not None:
        why = f": {row.reason}" if row.reason else "."
        raise ReleaseDisabled(f"{repo.full_name} {row.tag} is quarantined{why}")
