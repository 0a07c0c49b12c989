"""Releases that contain what was withdrawn afterwards: a file of theirs, rows of their data, or of the data of a release of this
hub that they started from. They stay as they are, since a release never changes; everybody who uses one is told.

The fact stands in `RepoRelease.withdrawn`, where every door reads it, and is renewed when a clearance changes, and now and then
for all, so that nothing that was missed stays wrong."""

from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.db.models import Exists, OuterRef, Q
from django.db.models.expressions import BaseExpression
from django.utils import timezone

from hub.community.listeners import notify
from hub.repos.models import Content, Repo, RepoRelease
from hub.repos.purge_models import PurgedContent
from moderation import audit
from moderation.models import Release, ReleaseBasis
from moderation.people import maintainers_of
from moderation.releasing.publishing import path_of

SHOWN = (Release.State.PUBLISHED, Release.State.YANKED, Release.State.QUARANTINED)
MAX_DEPTH = 8  # of releases made from releases
SHOWN_SOURCES = 5
SQL_BATCH = 500
FRESH = timedelta(minutes=5)


def list_concerned(contents: Iterable[Content]) -> list[str]:
    """Digests of contents that may have been withdrawn by a decision, or given back by it: no release stands on what was
    brought a moment ago and is cleared, as with every upload."""
    fresh = timezone.now() - FRESH
    withheld = Content.Clearance.WITHHELD
    return [row.digest for row in contents if row.clearance == withheld or (row.is_cleared and row.created_at < fresh)]


def renew_for(repo: Repo, digests: Iterable[str]) -> None:
    """After a decision about contents of `repo`: the releases that stand on them, and what was made from those."""
    digests = list(digests)
    keys: set[int] = set()
    for start in range(0, len(digests), SQL_BATCH):
        rows = ReleaseBasis.objects.filter(
            repo_id=repo.pk, digest__in=digests[start : start + SQL_BATCH], release__state__in=SHOWN
        )
        keys |= set(rows.values_list("release_id", flat=True))
    if keys:
        parents = list_parents()
        renew(with_descendants(keys, parents), parents)


def renew_all() -> int:
    """Every release that was given out; returns how many say something else now."""
    parents = list_parents()
    return renew(set(parents), parents)


def renew(keys: set[int], parents: dict[int, set[int]]) -> int:
    changed = 0
    found = find_own(with_ancestors(keys, parents))
    for release in Release.objects.filter(pk__in=keys).select_related("repo").defer("manifest", "gate"):
        sources: Counter[tuple[str, str]] = Counter()
        for key in with_ancestors({release.pk}, parents):
            sources.update(found.get(key, {}))
        changed += write(release, describe(sources))
    return changed


def write(release: Release, sentence: str) -> bool:
    """Whether it said something else before. What is new is told and stands in the log."""
    rows = RepoRelease.objects.filter(repo=release.repo_id, tag=release.tag).exclude(withdrawn=sentence)
    if not rows.update(withdrawn=sentence):
        return False
    act = "contains_withdrawn" if sentence else "contains_nothing_withdrawn"
    audit.record(f"release.{act}", f"{release.repo}@{release.tag}", is_public=True, found=sentence)
    if sentence:
        text = f"{release.repo} {release.tag} contains what was withdrawn afterwards: {sentence}"
        notify(maintainers_of(release.repo), text, path_of(release))
    return True


def describe(sources: "Counter[tuple[str, str]]") -> str:
    """ "charlie/tide-rows: 2 files withheld; ...", or "" for nothing. Which files is for those who may see them."""
    parts = [
        f"{name}: {count} {'file' if count == 1 else 'files'} {how}" for (name, how), count in sorted(sources.items())
    ]
    more = f" and {len(parts) - SHOWN_SOURCES} more" if len(parts) > SHOWN_SOURCES else ""
    return "; ".join(parts[:SHOWN_SOURCES]) + more + ("." if parts else "")


def find_own(keys: set[int]) -> dict[int, "Counter[tuple[str, str]]"]:
    """release -> (repository, how it was withdrawn) -> files, of what each itself stands on."""
    names = Repo.everything.filter(pk=OuterRef("repo_id"))
    same: dict[str, Any] = {"repo_id": OuterRef("repo_id"), "digest": OuterRef("digest")}
    ways: list[tuple[str, BaseExpression | Q]] = [
        ("purged", Exists(PurgedContent.objects.filter(**same))),
        ("withheld", Exists(Content.objects.filter(**same, clearance=Content.Clearance.WITHHELD))),
        ("deleted with their repository", Exists(names.filter(deleted_at__isnull=False)) | ~Exists(names)),
    ]
    found: dict[int, Counter[tuple[str, str]]] = {}
    known: dict[int, str] = {}
    for how, condition in ways:
        rows = ReleaseBasis.objects.filter(condition, release_id__in=keys).values_list("release_id", "repo_id")
        for release, repo in rows:
            if repo not in known:
                row = Repo.everything.filter(pk=repo).first()
                known[repo] = row.full_name if row is not None else "a repository that is gone"
            found.setdefault(release, Counter())[known[repo], how] += 1
    return found


def list_parents() -> dict[int, set[int]]:
    """release -> those whose weights it started from, by the commit that its lock pins."""
    rows = list(Release.objects.filter(state__in=SHOWN).values_list("pk", "commit", "manifest__inputs"))
    made: dict[str, set[int]] = {}
    for key, commit, _ in rows:
        made.setdefault(commit, set()).add(key)
    return {
        key: {
            parent
            for pin in inputs or []
            if pin.get("type") == "model"
            for parent in made.get(pin.get("commit", ""), ())
            if parent != key
        }
        for key, _, inputs in rows
    }


def with_ancestors(keys: set[int], parents: dict[int, set[int]]) -> set[int]:
    found, edge = set(keys), set(keys)
    for _ in range(MAX_DEPTH):
        edge = {parent for key in edge for parent in parents.get(key, ())} - found
        found |= edge
    return found


def with_descendants(keys: set[int], parents: dict[int, set[int]]) -> set[int]:
    children: dict[int, set[int]] = {}
    for key, above in parents.items():
        for parent in above:
            children.setdefault(parent, set()).add(key)
    return with_ancestors(keys, children)
