"""What an export of a repository tells of its releases: the public manifest and its signature, for people and programs that
check them. An import makes no release of it."""

from collections.abc import Iterator
from typing import Any

from hub.community.archives.writing import adds_records
from hub.repos.models import Repo
from moderation.models import Release
from moderation.releasing.releases import SHOWN_STATES


def list_releases(repo: Repo) -> Iterator[dict[str, Any]]:
    for release in Release.objects.filter(repo=repo, state__in=SHOWN_STATES).order_by("pk").iterator(50):
        yield {
            "tag": release.tag,
            "commit": release.commit,
            "state": release.state,
            "published_at": release.published_at.isoformat() if release.published_at else None,
            "notes": release.notes,
            "manifest": release.manifest,
            "signature": release.signature,
        }


adds_records("release", list_releases)
