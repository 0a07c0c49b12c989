"""What was purged stays out: no door takes it again, and who asks for an old commit hears what became of it."""

from collections.abc import Iterable

from hub.common.errors import Forbidden
from hub.repos.models import Repo
from hub.repos.purge_models import PurgedCommit, PurgedContent

SQL_BATCH = 500
MAX_ALIKE = 100  # commits whose ids begin alike


def refuse_purged(repo: Repo, named: Iterable[tuple[str, str]]) -> None:
    """`named` are (path, digest) of what somebody brings; it is not even read where nothing was purged.

    Raises Forbidden for the first that is kept out."""
    rows = PurgedContent.objects.filter(repo=repo, is_kept_out=True)
    if not rows.exists():
        return
    paths = {digest: path for path, digest in named}
    digests = sorted(paths)
    for start in range(0, len(digests), SQL_BATCH):
        found = rows.filter(digest__in=digests[start : start + SQL_BATCH]).values_list("digest", flat=True).first()
        if found is not None:
            raise Forbidden(
                f"{paths[found]}: this content was purged from {repo.full_name} and is not taken again; leave it out. "
                "In a clone from before the purge it stands in the history: clone anew and bring your change over."
            )


def is_purged_file(repo: Repo, sha256: str) -> bool:
    """Whether a large file was deleted here for good; false again once it has been brought anew."""
    return PurgedContent.objects.filter(repo=repo, digest=f"sha256:{sha256}").exists()


def find_successor(repo: Repo, commit: str) -> str | None:
    """The commit that stands in the place of one that a purge has taken away."""
    if len(commit) != 40:
        return None
    return PurgedCommit.objects.filter(repo=repo, old=commit).values_list("new", flat=True).first()


def renamed_commits(repo: Repo, abbreviated: str) -> dict[str, str]:
    """{old: new} of commits that a purge has taken away and whose id begins with these hexadecimal digits."""
    rows = PurgedCommit.objects.filter(repo=repo, old__gte=abbreviated, old__lt=f"{abbreviated}g")
    return dict(rows.values_list("old", "new")[:MAX_ALIKE])


def describe_missing(repo: Repo, commit: str) -> str:
    """One sentence for whoever pinned a commit that is not there."""
    new = find_successor(repo, commit)
    if new is None:
        return f"Commit {commit[:12]} of {repo.full_name} does not exist any more; pin another one."
    return (
        f"Commit {commit[:12]} of {repo.full_name} is gone since files were purged from its history; it is {new} now: "
        "pin that one."
    )
