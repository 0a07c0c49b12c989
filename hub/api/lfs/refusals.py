"""What git-lfs prints for an object that is not given: the same that the file's page says, and nothing of what it hides."""

from hub.repos.models import Content
from hub.repos.purged import is_purged_file
from hub.repos.reader import RepoReader, digest_of

MAX_REVISIONS = 20  # looked at for one object
THE_REST = (
    "clone with GIT_LFS_SKIP_SMUDGE=1, or set `git config --global lfs.skipdownloaderrors true` first, to get the rest"
)


def describe_missing_object(reader: RepoReader, sha256: str) -> str:
    """One sentence. Only of a pointer that this reader's half of the history holds it says that the file exists at all."""
    repo = reader.repo
    content = Content.objects.filter(repo=repo, digest=f"sha256:{sha256}").first()
    if content is None and reader.is_member and is_purged_file(repo, sha256):
        return f"{sha256[:12]} was deleted from {repo.full_name} for good; {THE_REST}."
    path = find_path(reader, content) if content is not None else None
    if content is None or path is None:
        return f"{sha256[:12]} is not in {repo.full_name}, or not cleared for you; {THE_REST}."
    name = path or sha256[:12]
    if content.clearance == Content.Clearance.WITHHELD:
        return f"{name} is held back by the screens and is not public; {THE_REST}."
    if content.clearance == Content.Clearance.PENDING:
        return f"{name} waits for screening and is not public yet; {THE_REST}."
    return f"The bytes of {name} are not stored any more; {THE_REST}."


def find_path(reader: RepoReader, content: Content) -> str | None:
    """Its path where this reader sees it under that name, empty where only a pointer to it, None where neither."""
    head = reader.git.read_ref(f"refs/heads/{reader.repo.default_branch}")
    entry = reader.git.entry(head, content.path) if head else None
    if entry is not None and entry.type == "file" and digest_of(entry) == content.digest:
        return content.path
    commits = content.brought_by.order_by("pk").values_list("revision__commit", flat=True)[:MAX_REVISIONS]
    return "" if any(reader.git.has_commit(commit) for commit in commits) else None
