"""The card of a repository: the metadata of README.md at the head that it shows, kept in the row for lists and filters."""

import math
from typing import Any

from django.dispatch import receiver

from hub.common.markdown import MAX_CARD_BYTES, Card, split_card
from hub.repos.events import branch_moved, clearance_changed
from hub.repos.models import Repo
from hub.repos.places import pair
from hub.storage.errors import StorageError
from hub.storage.git import GitRepo

MAX_DEPTH = 20  # of nested metadata
MAX_TAGS, MAX_TAG_CHARACTERS = 200, 200
# How metadata becomes tags that the stock client filters by, for models and for datasets.
MODEL_PREFIXES = {"license": "license:", "datasets": "dataset:", "base_model": "base_model:"}
MODEL_PLAIN = ("pipeline_tag", "library_name", "language", "tags")
DATASET_PREFIXES = {
    key: f"{key}:"
    for key in (
        "task_categories",
        "task_ids",
        "language",
        "license",
        "size_categories",
        "multilinguality",
        "annotations_creators",
    )
}
DATASET_PLAIN = ("tags",)
ENDINGS = {".safetensors": "safetensors", ".gguf": "gguf", ".parquet": "parquet", ".jsonl": "json", ".csv": "csv"}


def read_card(text: str) -> Card:
    """The card with metadata that a database can keep. Never raises, however odd the text is."""
    try:
        card = split_card(text)
    except RecursionError:
        return Card({}, text, "README.md: the metadata is nested too deep; write it flat.")
    return Card(plain_value(card.metadata), card.body, card.problem)


def plain_value(value: Any, depth: int = 0) -> Any:
    """YAML values as JSON knows them: dates become texts, texts lose NUL, nothing is deeper than MAX_DEPTH."""
    if depth > MAX_DEPTH:
        return None
    if isinstance(value, dict):
        return {plain_text(str(key)): plain_value(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain_value(item, depth + 1) for item in value]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**63 else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return plain_text(str(value))


def plain_text(text: str) -> str:
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def tags_of(type: str, metadata: dict[str, Any], paths: list[str]) -> list[str]:
    """The tags that lists are filtered by, in order and once each."""
    is_dataset = type == Repo.Type.DATASET
    tags: list[str] = []
    for key in DATASET_PLAIN if is_dataset else MODEL_PLAIN:
        tags += texts_of(metadata.get(key))
    for key, prefix in (DATASET_PREFIXES if is_dataset else MODEL_PREFIXES).items():
        tags += [prefix + text for text in texts_of(metadata.get(key))]
    for ending, kind in ENDINGS.items():
        if any(path.endswith(ending) for path in paths):
            tags.append(f"format:{kind}" if is_dataset else kind)
    return list(dict.fromkeys(tags))[:MAX_TAGS]


def texts_of(value: Any) -> list[str]:
    """One text or a list of texts. YAML reads the language `no` as False, which people do not mean."""
    values = value if isinstance(value, list) else [value]
    texts = ["no" if item is False else item for item in values]
    return [text[:MAX_TAG_CHARACTERS] for text in texts if isinstance(text, str) and text]


def refresh_card(repo: Repo) -> None:
    """Read the card at the head that everybody sees, or that members see while it is private, into the row."""
    row = Repo.everything.get(pk=repo.pk)
    head = row.head if row.is_private else row.public_head
    card, tags = (read_head(row, head)) if head else (Card({}, ""), [])
    if (row.card, row.card_problem, row.tags) != (card.metadata, card.problem, tags):
        # Only while the head is still the one that was read: whoever moved it reads it again.
        unmoved = Repo.everything.filter(pk=row.pk, head=row.head, public_head=row.public_head)
        unmoved.update(card=card.metadata, card_problem=card.problem, tags=tags)
    repo.card, repo.card_problem, repo.tags = card.metadata, card.problem, tags


def read_head(repo: Repo, head: str) -> tuple[Card, list[str]]:
    members = pair(repo).members
    card = read_card(read_readme(members, head))
    try:
        paths = [entry.path for entry in members.tree(head) if entry.type == "file"]
    except StorageError:
        paths = []
    return card, tags_of(repo.type, card.metadata, paths)


def read_readme(members: GitRepo, head: str) -> str:
    try:
        return members.read(head, "README.md", limit=MAX_CARD_BYTES).decode("utf-8", errors="replace")
    except StorageError:
        return ""


@receiver(branch_moved)
def read_after_push(sender: type, repo: Repo, ref: str, **_: Any) -> None:
    if ref == f"refs/heads/{repo.default_branch}":
        refresh_card(repo)


@receiver(clearance_changed)
def read_after_decision(sender: type, repo: Repo, **_: Any) -> None:
    refresh_card(repo)
