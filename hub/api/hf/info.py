"""A repository in the words of the stock client (ModelInfo, DatasetInfo, SpaceInfo)."""

import json
from functools import partial
from typing import Any

from django.db.models import Sum
from django.http import HttpRequest, HttpResponse

from hub.api.error_responses import header_text
from hub.api.hf.endpoints import answer, endpoint, flag_of, open_reader, with_repo
from hub.api.hf.entries import describe_sibling, list_files
from hub.api.hf.leaderboards import describe_result
from hub.api.hf.safetensors import count_tensors
from hub.api.hf.times import format_time
from hub.api.hf.tree import resolve_whole
from hub.common.errors import HubError, InvalidInput, RevisionNotFound
from hub.common.prepared import Prepared
from hub.community.eval_results import read_results
from hub.repos.models import Content, Repo
from hub.repos.reader import RepoReader
from hub.storage.git import TreeEntry

CARD_TEXTS = ("pipeline_tag", "library_name")
KNOWN_EXPANSIONS = frozenset(
    "author baseModels cardData childrenModelCount citation config createdAt datasets description disabled downloads "
    "downloadsAllTime evalResults gated gguf inference inferenceProviderMapping lastModified library_name likes mainSize "
    "mask_token model-index models paperswithcode_id pipeline_tag private region resourceGroup runtime safetensors sdk "
    "sha siblings spaces subdomain tags transformersInfo trendingScore usedStorage widgetData".split()
)
CONFIG_KEYS = ("architectures", "model_type", "tokenizer_class", "quantization_config")
MAX_CONFIG_BYTES = 512 * 1024


def describe_row(repo: Repo) -> dict[str, Any]:
    """What is known without opening git: enough for lists."""
    card = repo.card if isinstance(repo.card, dict) else {}
    item: dict[str, Any] = {
        "_id": repo.key[:24],
        "id": repo.full_name,
        "author": repo.owner.name,
        "sha": (repo.head if repo.is_private else repo.public_head) or None,
        "lastModified": format_time(repo.updated_at),
        "createdAt": format_time(repo.created_at),
        "private": repo.is_private,
        "gated": repo.gated or False,
        "disabled": repo.is_disabled,
        "downloads": repo.downloads,
        "downloadsAllTime": repo.downloads,
        "likes": repo.likes,
        "trendingScore": repo.likes,
        "tags": repo.tags,
    }
    if repo.type == Repo.Type.MODEL:
        item["modelId"] = repo.full_name
        item |= {key: card[key] for key in CARD_TEXTS if isinstance(card.get(key), str)}
    if repo.type == Repo.Type.DATASET:
        item["description"] = repo.description
    if repo.type == Repo.Type.SPACE:
        item["sdk"] = card.get("sdk", "static")
    return item


def read_expansions(request: HttpRequest) -> list[str]:
    """`?expand=likes&expand=sha`, or `expand[]=`; [] when everything usual is wanted."""
    wanted = request.GET.getlist("expand") + request.GET.getlist("expand[]")
    for name in wanted:
        if name not in KNOWN_EXPANSIONS:
            raise InvalidInput(
                f"The property {name!r} cannot be expanded; known are {', '.join(sorted(KNOWN_EXPANSIONS))}."
            )
    return wanted


@with_repo()
def show_repo(request: HttpRequest, repo: Repo, *, rest: str | None = None) -> HttpResponse:
    expansions = read_expansions(request)
    reader = open_reader(request, repo)
    commit = find_commit(reader, rest)
    item = describe_row(repo)
    item["sha"] = commit
    wanted = set(expansions) or {"siblings", "cardData", "config", "safetensors", "spaces", "usedStorage"}
    files = list_files(reader, commit) if commit and wanted & {"siblings", "config", "safetensors"} else []
    with_blobs = flag_of(request.GET.get("blobs"))
    if "siblings" in wanted:
        item["siblings"] = [describe_sibling(entry, with_blobs=with_blobs) for entry in files]
    if "cardData" in wanted and repo.card:
        item["cardData"] = repo.card
    if "usedStorage" in wanted:
        item["usedStorage"] = count_bytes(reader)
    if repo.type == Repo.Type.MODEL and commit:
        item |= describe_model(reader, commit, files, wanted)
    if flag_of(request.GET.get("securityStatus")):
        item["securityRepoStatus"] = describe_screening(reader, commit, files)
    if expansions:
        item = {key: value for key, value in item.items() if key in {"_id", "id", *expansions}}
    headers = {"X-Repo-Commit": commit, **(warn_of_release(repo, commit) if rest else {})} if commit else None
    return answer(item, headers=headers)


def warn_of_release(repo: Repo, commit: str) -> dict[str, str]:
    """What the stock client prints once when it downloads a release that was yanked or contains what was withdrawn."""
    row = repo.public_releases.filter(commit=commit).order_by("-pk").first() if repo.type == Repo.Type.MODEL else None
    if row is None or not row.warning:
        return {}
    return {"X-HF-Warning": header_text(f"{repo.full_name} {row.tag}; {repo.full_name} {row.tag}: {row.warning}")}


def sum_of_contents(repo: int, **filters: Any) -> Any:
    rows = Content.objects.filter(repo_id=repo, **filters).order_by()
    return rows.values("repo_id").annotate(total=Sum("size")).values_list("total")


ALL_BYTES = Prepared(sum_of_contents, int)
CLEARED_BYTES = Prepared(partial(sum_of_contents, clearance=Content.Clearance.CLEARED), int)


def count_bytes(reader: RepoReader) -> int:
    """Bytes of all contents that this reader may know of, each counted once."""
    found = (ALL_BYTES if reader.is_member else CLEARED_BYTES).first(reader.repo.pk)
    return found[0] if found else 0


def find_commit(reader: RepoReader, rest: str | None) -> str | None:
    """The commit of a named revision. Without a name an empty repository, or one with nothing cleared, is None."""
    if rest:
        return resolve_whole(reader, rest)
    try:
        return reader.resolve(None)
    except RevisionNotFound:
        return None


def describe_model(reader: RepoReader, commit: str, files: list[TreeEntry], wanted: set[str]) -> dict[str, Any]:
    item: dict[str, Any] = {}
    if "config" in wanted and (config := read_config(reader, commit, files)):
        item["config"] = config
    if "safetensors" in wanted and (counts := count_tensors(reader, commit, files)):
        item["safetensors"] = counts
    if "spaces" in wanted:
        item["spaces"] = []
    if "evalResults" in wanted:
        item["evalResults"] = [describe_result(found) for found in read_results(reader, commit)]
    return item


def read_config(reader: RepoReader, commit: str, files: list[TreeEntry]) -> dict[str, Any]:
    """The telling part of config.json; {} when there is none that reads."""
    entry = next((entry for entry in files if entry.path == "config.json"), None)
    if entry is None or entry.size > MAX_CONFIG_BYTES:
        return {}
    try:
        config = json.loads(b"".join(reader.read_entry(commit, entry)))
    except (ValueError, RecursionError, HubError):
        return {}
    return {key: config[key] for key in CONFIG_KEYS if key in config} if isinstance(config, dict) else {}


def describe_screening(reader: RepoReader, commit: str | None, files: list[TreeEntry]) -> dict[str, Any]:
    """Members learn which files are not cleared; what others see listed is."""
    facts = reader.clearance(commit, files) if commit else {}
    issues = [
        {"path": path, "level": "unsafe", "message": content.reason}
        for path, content in facts.items()
        if content.clearance == Content.Clearance.WITHHELD
    ]
    is_done = all(content.clearance != Content.Clearance.PENDING for content in facts.values())
    return {"scansDone": is_done, "filesWithIssues": issues}


repo_info = endpoint(GET=show_repo)
