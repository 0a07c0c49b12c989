"""A dataset in Croissant, the metadata format that dataset searches and mlcroissant read: its files with their digests, and the
columns of tables of text as their first rows show them. Reads no more than the beginning of a few files.

Source: http://mlcommons.org/croissant/1.0"""

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from django.http import HttpRequest, HttpResponse

from hub.api.addresses import base_url
from hub.api.hf.endpoints import answer, endpoint, open_reader, with_repo
from hub.api.hf.entries import list_files
from hub.common.errors import HubError, InvalidInput, RevisionNotFound
from hub.repos.models import Repo
from hub.repos.reader import RepoReader
from hub.storage.git import TreeEntry

MAX_CELL = 100_000  # characters; the limit of the csv module is one for all of a process
BROKEN = re.compile(r"[\ud800-\udfff]")  # halves of characters: JSON may write them, UTF-8 has none for them

CONFORMS_TO = "http://mlcommons.org/croissant/1.0"
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
KINDS = {
    ".jsonl": "application/jsonlines",
    ".ndjson": "application/jsonlines",
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".parquet": "application/x-parquet",
}
MAX_FILES = 100  # data files that are named one by one
MAX_TABLES = 20  # files whose columns are looked at
MAX_COLUMNS = 100
MAX_ROWS = 50
HEAD_BYTES = 64 * 1024
MAX_HASHED_BYTES = 1 << 20  # of a small file that git holds; larger ones are large files, whose digest is known
UNSAFE = re.compile(r"[^A-Za-z0-9_.-]")


@with_repo(action="read_files")
def show_croissant(request: HttpRequest, repo: Repo) -> HttpResponse:
    if repo.type != Repo.Type.DATASET:
        raise InvalidInput(f"{repo.full_name} is a {repo.type}; Croissant describes datasets.")
    reader = open_reader(request, repo)
    try:
        commit = reader.resolve(None)
    except RevisionNotFound:
        raise RevisionNotFound(f"{repo.full_name} holds no files yet, so there is nothing to describe.") from None
    described = describe_dataset(reader, commit, base_url(request))
    response = answer(described, headers={"X-Repo-Commit": commit})
    response["Content-Type"] = "application/ld+json"
    return response


def describe_dataset(reader: RepoReader, commit: str, site: str) -> dict[str, Any]:
    repo = reader.repo
    card = repo.card if isinstance(repo.card, dict) else {}
    tables = [entry for entry in list_files(reader, commit) if kind_of(entry.path)]
    files = [row for entry in tables[:MAX_FILES] if (row := describe_file(reader, commit, entry, site))]
    named = {row["@id"] for row in files}
    sets = [
        found
        for entry in tables[:MAX_TABLES]
        if identify(entry.path) in named and (found := describe_records(reader, commit, entry))
    ]
    licence = card.get("license")
    described = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        "name": UNSAFE.sub("-", repo.full_name.replace("/", "-")),
        "alternateName": repo.full_name,
        "description": BROKEN.sub("", str(card.get("pretty_name") or f"{repo.full_name} at {commit}")),
        "url": f"{site}{repo.path}",
        "version": "1.0.0",
        "identifier": commit,
        "creator": {"@type": "sc:Person" if repo.owner_user_id else "sc:Organization", "name": repo.owner.name},
        "datePublished": repo.created_at.date().isoformat(),
        "distribution": files,
        "recordSet": sets,
    }
    if licence:
        described["license"] = (
            [BROKEN.sub("", str(item)) for item in licence]
            if isinstance(licence, list)
            else BROKEN.sub("", str(licence))
        )
    if keywords := [BROKEN.sub("", tag) for tag in repo.tags if isinstance(tag, str)][:50]:
        described["keywords"] = keywords
    return described


def identify(text: str) -> str:
    """`text` as an @id, which takes no white space; what has to be changed gets a digest behind it, so that two stay two."""
    plain = re.sub(r"\s", "-", text)
    return plain if plain == text else f"{plain}~{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def kind_of(path: str) -> str:
    return next((kind for ending, kind in KINDS.items() if path.lower().endswith(ending)), "")


def describe_file(reader: RepoReader, commit: str, entry: TreeEntry, site: str) -> dict[str, Any] | None:
    """None for a file that this person may not have, or whose digest nobody knows."""
    try:
        reader.check_bytes(entry)
        sha256 = entry.lfs.sha256 if entry.lfs else hash_small(reader, commit, entry)
    except HubError:
        return None
    if sha256 is None:
        return None
    return {
        "@type": "cr:FileObject",
        "@id": identify(entry.path),
        "name": UNSAFE.sub("-", entry.path),
        "contentUrl": f"{site}{quote(f'{reader.repo.path}/resolve/{commit}/{entry.path}')}",
        "contentSize": f"{entry.size} B",
        "encodingFormat": kind_of(entry.path),
        "sha256": sha256,
    }


def hash_small(reader: RepoReader, commit: str, entry: TreeEntry) -> str | None:
    if entry.size > MAX_HASHED_BYTES:
        return None
    digest = hashlib.sha256()
    for piece in reader.read_entry(commit, entry):
        digest.update(piece)
    return digest.hexdigest()


def describe_records(reader: RepoReader, commit: str, entry: TreeEntry) -> dict[str, Any] | None:
    """The columns of a table of text with their types; None for what shows none."""
    data = b"".join(reader.read_entry(commit, entry, 0, min(entry.size, HEAD_BYTES)))
    columns = read_columns(entry.path, data, is_whole=entry.size <= HEAD_BYTES)
    if not columns:
        return None
    return {
        "@type": "cr:RecordSet",
        "@id": identify(f"rows/{entry.path}"),
        "name": f"rows-{UNSAFE.sub('-', entry.path)}",
        "field": [
            {
                "@type": "cr:Field",
                "@id": identify(f"rows/{entry.path}/{name}"),
                "name": name,
                "dataType": type,
                "source": {"fileObject": {"@id": identify(entry.path)}, "extract": {"column": name}},
            }
            for name, type in columns.items()
        ],
    }


def read_columns(path: str, data: bytes, *, is_whole: bool) -> dict[str, str]:
    """name -> type, of the first rows."""
    text = data.decode("utf-8", errors="replace").removeprefix("\ufeff")
    if not is_whole:
        text = text[: text.rfind("\n") + 1]
    kind = kind_of(path)
    if kind == "application/jsonlines":
        return merge_types(read_objects(text))
    if kind in ("text/csv", "text/tab-separated-values"):
        delimiter = "," if kind == "text/csv" else "\t"
        try:
            rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
            first = [row for row, _ in zip(rows, range(MAX_ROWS), strict=False)]
            if any(len(cell) > MAX_CELL for row in first for cell in row.values() if isinstance(cell, str)):
                return {}  # a quotation mark that nothing closes
            return merge_types({name: guess(cell) for name, cell in row.items() if name} for row in first)
        except csv.Error:
            return {}
    return {}


def read_objects(text: str) -> Iterable[dict[str, Any]]:
    for line in text.splitlines()[:MAX_ROWS]:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            yield value


def guess(cell: Any) -> Any:
    """What the text of a cell is: a number, or itself."""
    for make in (int, float):
        try:
            return make(cell)
        except (TypeError, ValueError, OverflowError):
            continue
    return cell


def merge_types(rows: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Columns of simple values, with a type that holds all that were seen; lists and objects have none and are left out."""
    seen: dict[str, set[str]] = {}
    for row in rows:
        for name, value in row.items():
            if value is not None and not BROKEN.search(str(name)):
                seen.setdefault(str(name), set()).add(type_of(value))
    chosen = {name: choose_type(types) for name, types in seen.items()}
    return dict([(name, type) for name, type in chosen.items() if type][:MAX_COLUMNS])


def type_of(value: Any) -> str:
    if isinstance(value, bool):
        return "sc:Boolean"
    return {int: "sc:Integer", float: "sc:Float", str: "sc:Text"}.get(type(value), "")


def choose_type(types: set[str]) -> str:
    if "" in types:
        return ""
    if len(types) == 1:
        return next(iter(types))
    return "sc:Float" if types == {"sc:Integer", "sc:Float"} else "sc:Text"


croissant = endpoint(GET=show_croissant)
