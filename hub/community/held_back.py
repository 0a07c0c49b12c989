"""What the person at the terminal hears of files that a push brought and the screens did not clear at once."""

from collections.abc import Iterable

from hub.accounts.models import User
from hub.accounts.permissions import can
from hub.repos.models import Content, Repo

SQL_BATCH = 500
MAX_FILES = 5  # told by name; the page tells of all
MAX_REASON_CHARACTERS = 300


def describe_held(repo: Repo, commits: list[str], by: User, *, page: str, told: set[int]) -> list[str]:
    """Lines about the files of `commits` that are pending or withheld; none where all is cleared.

    `told` are contents (their keys) that another reference of the same push told of; it grows."""
    contents = [content for content in held_contents(repo, commits) if content.pk not in told]
    if not contents:
        return []
    told.update(content.pk for content in contents)
    one = len(contents) == 1
    lines = [
        f"{'1 file' if one else f'{len(contents):,} files'} of this push {'is' if one else 'are'} not cleared, and only "
        f"you and the members of {repo.full_name} can read {'it' if one else 'them'}:"
    ]
    sees_all = can(by, "read_members", repo)
    lines += [f"  {describe(content, sees_all or content.added_by_id == by.pk)}" for content in contents[:MAX_FILES]]
    if len(contents) > MAX_FILES:
        lines.append(f"  and {len(contents) - MAX_FILES:,} more")
    return [*lines, f"  Look at {page}"]


def summarize_held(repo: Repo, commits: list[str], by: User, *, page: str) -> str:
    """The same in short, for a header; empty where all is cleared. What is screened later still waits."""
    contents = list({content.path: content for content in reversed(held_contents(repo, commits))}.values())[::-1]
    if not contents:
        return ""
    first = contents[0]
    is_named = first.added_by_id == by.pk or can(by, "read_members", repo)
    more = f", and {len(contents) - 1:,} more" if len(contents) > 1 else ""
    told = describe(first, is_named).rstrip(".")
    reach = f"only you and the members of {repo.full_name} can read it"
    return f"{told}{more}. Until it is cleared, {reach}; look at {page}"


def describe(content: Content, is_named: bool) -> str:
    """Without name and reason where somebody else brought the same bytes: both can tell what is hidden of them."""
    what = "is withheld" if content.clearance == Content.Clearance.WITHHELD else "waits for screening"
    if not is_named:
        return f"a file that others brought as well {what}."
    reason = content.reason[:MAX_REASON_CHARACTERS]
    return f"{content.path} {what}{f': {reason}' if reason else '.'}"


def held_contents(repo: Repo, commits: list[str]) -> list[Content]:
    """What is withheld comes first. One short question where nothing waits, as in most repositories."""
    waiting = repo.contents.filter(clearance__in=Content.NOT_CLEARED)
    if not waiting.exists():
        return []
    found: dict[int, Content] = {}
    for batch in batches(commits):
        rows = waiting.filter(brought_by__revision__repo=repo, brought_by__revision__commit__in=batch)
        found |= {content.pk: content for content in rows}
    return sorted(found.values(), key=lambda row: (row.clearance != Content.Clearance.WITHHELD, row.pk))


def batches(commits: list[str]) -> Iterable[list[str]]:
    return (commits[start : start + SQL_BATCH] for start in range(0, len(commits), SQL_BATCH))
