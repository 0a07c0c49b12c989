"""What a release changes against the last one that was given out: from both manifests, so that everybody can compute it again."""

from typing import Any

from hub.repos.models import Repo
from moderation.models import Release

GIVEN_OUT = (Release.State.PUBLISHED, Release.State.YANKED)
MAX_NAMES = 200  # of each kind


def describe(repo: Repo, manifest: dict[str, Any]) -> dict[str, Any]:
    """{"against": tag or None, "files": {"added", "changed", "removed"}, "inputs": the same, "new_contributors", "recipe":
    whether another one made it}; lists are cut at MAX_NAMES."""
    last = Release.objects.filter(repo=repo, state__in=GIVEN_OUT).order_by("-published_at", "-pk").first()
    before: dict[str, Any] = last.manifest if last is not None else {}
    known = {row["name"] for row in before.get("contributors", [])}
    return {
        "against": last.tag if last is not None else None,
        "files": compare(
            {path: pin["sha256"] for path, pin in before.get("files", {}).items()},
            {path: pin["sha256"] for path, pin in manifest["files"].items()},
        ),
        "inputs": compare(commits_of(before), commits_of(manifest)),
        "new_contributors": [row["name"] for row in manifest["contributors"] if row["name"] not in known][:MAX_NAMES],
        "recipe": before.get("recipe_digest") != manifest["recipe_digest"],
    }


def commits_of(manifest: dict[str, Any]) -> dict[str, str]:
    return {f"{pin['type']} {pin['repository']}@{pin['revision']}": pin["commit"] for pin in manifest.get("inputs", [])}


def compare(before: dict[str, str], now: dict[str, str]) -> dict[str, list[str]]:
    """Names that came, that lead to something else, and that went."""
    return {
        "added": sorted(now.keys() - before.keys())[:MAX_NAMES],
        "changed": sorted(name for name in now.keys() & before.keys() if now[name] != before[name])[:MAX_NAMES],
        "removed": sorted(before.keys() - now.keys())[:MAX_NAMES],
    }
