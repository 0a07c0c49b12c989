"""recipe.lock: every pin of one build, so that anyone can run it again. Written by hub or engine only.

Plain JSON with sorted keys: equal locks are equal bytes, and `lock_digest` names them."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from training.engine.errors import EngineError
from training.engine.recipe_fields import parse_reference

VERSION = 1
MAX_BYTES = 64 << 20  # a dataset of 300,000 files has a lock of about 40 MiB
MAX_PATH_BYTES = 1024
REPO_TYPES = ("model", "dataset")
CREDIT_KEYS = {"contributor", "pull_request", "rows"}
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")

Json = Any  # numbers, text, lists, dicts: what json.loads returns


@dataclass(frozen=True)
class LockedFile:
    sha256: str  # 64 hex
    size: int  # bytes


@dataclass(frozen=True)
class LockedRepository:
    type: str  # model | dataset
    id: str  # NAMESPACE/NAME
    revision: str  # as the recipe says it
    commit: str  # 40 hex: what the revision was
    files: dict[str, LockedFile]  # path -> pin
    # path -> who brought its rows: [{"contributor": "alice", "pull_request": 12, "rows": [0, 40]}]
    contributors: dict[str, list[dict[str, Json]]] = field(default_factory=dict)
    key: str | None = None  # what row ids of this repository start with, where it is not the id


@dataclass(frozen=True)
class Lock:
    recipe: str  # YAML of the recipe with every "auto" resolved as far as known
    repositories: tuple[LockedRepository, ...]
    resolved: dict[str, Json] = field(default_factory=dict)  # "train.learning_rate" -> 0.0002: every auto of the recipe
    seeds: dict[str, int] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)  # program -> version
    device: str | None = None  # such as "cpu" or "cuda: NVIDIA H100"
    corpus_digest: str | None = None  # "sha256:..."
    outputs: dict[str, str] = field(default_factory=dict)  # path in the model's folder -> "sha256:..." or 64 hex
    endpoint: str | None = None  # the hub that wrote it
    version: int = VERSION


def read_lock(path: Path) -> Lock:
    """Raises EngineError when there is no such file or it is not a lock."""
    try:
        if path.stat().st_size > MAX_BYTES:
            _refuse(f"{path.name} is larger than {MAX_BYTES >> 20} MiB")
        return parse_lock(path.read_text(encoding="utf-8"))
    except OSError as error:
        _refuse(f"{path} cannot be read ({error.strerror})")
    except UnicodeDecodeError:
        _refuse(f"{path.name} is not UTF-8 text")


def write_lock(lock: Lock, path: Path) -> None:
    """Write the whole file or nothing."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(format_lock(lock), encoding="utf-8")
    os.replace(draft, path)


def format_lock(lock: Lock) -> str:
    record = asdict(lock)
    record["repositories"] = [asdict(r) for r in lock.repositories]
    return json.dumps(record, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def lock_digest(lock: Lock) -> str:
    return "sha256:" + hashlib.sha256(format_lock(lock).encode()).hexdigest()


def parse_lock(text: str) -> Lock:
    """Refuses whatever format_lock would not have written, unknown keys included."""
    try:
        record = json.loads(text, object_pairs_hook=_refuse_twins, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        where = f"line {error.lineno}" if isinstance(error, json.JSONDecodeError) else "too deep, or a number too long"
        _refuse(f"it is not JSON ({where})")
    _check_keys(record, "the lock", required={"version", "recipe", "repositories"}, known=set(Lock.__annotations__))
    if record["version"] != VERSION or isinstance(record["version"], bool):
        _refuse(f"version {record['version']!r} is unknown, this program reads version {VERSION}")
    if not isinstance(record["recipe"], str) or not isinstance(record["repositories"], list):
        _refuse("recipe must be text and repositories a list")
    repositories = tuple(_parse_repository(r, f"repositories[{i}]") for i, r in enumerate(record["repositories"]))
    twins = [name for name, n in Counter((r.type, r.id, r.revision) for r in repositories).items() if n > 1]
    if twins:
        _refuse(f"{twins[0][1]}@{twins[0][2]} is listed twice")
    _check_tables(record)
    return Lock(**{**record, "repositories": repositories})


def find_repository(lock: Lock, type: str, id: str, revision: str) -> LockedRepository:
    for repository in lock.repositories:
        if (repository.type, repository.id, repository.revision) == (type, id, revision):
            return repository
    _refuse(f"it does not pin the {type} {id}@{revision}")


def name_folder(repository: LockedRepository, lock: Lock) -> str:
    """Where a repository lies under the inputs folder: models/NS--NAME, with the commit where one is pinned twice."""
    folder = f"{repository.type}s/{repository.id.replace('/', '--')}"
    same = {r.commit for r in lock.repositories if (r.type, r.id) == (repository.type, repository.id)}
    return folder if len(same) == 1 else f"{folder}--{repository.commit[:12]}"


def _parse_repository(record: Json, where: str) -> LockedRepository:
    required = {"type", "id", "revision", "commit", "files"}
    _check_keys(record, where, required=required, known=required | {"contributors", "key"})
    if not isinstance(record.get("key"), str | None):
        _refuse(f"{where}.key must be text")
    if record["type"] not in REPO_TYPES:
        _refuse(f"{where}.type must be model or dataset")
    if not all(isinstance(record[name], str) for name in ("id", "revision", "commit")):
        _refuse(f"{where}: id, revision and commit must be text")
    if parse_reference(f"{record['id']}@{record['revision']}") is None:
        _refuse(f"{where} names no repository: {record['id'][:80]}@{record['revision'][:80]}")
    if not re.fullmatch(r"[0-9a-f]{40}", record["commit"]):
        _refuse(f"{where}.commit is not a full commit id")
    if not isinstance(record["files"], dict):
        _refuse(f"{where}.files must map paths to pins")
    files = {path: _parse_file(path, pin, where) for path, pin in record["files"].items()}
    folders = {str(parent) for path in files for parent in Path(path).parents}
    if folders & files.keys():
        _refuse(f"{where}: {min(folders & files.keys())} is both a file and a folder")
    return LockedRepository(**{**record, "files": files, "contributors": _parse_credit(record, where)})


def _parse_file(path: str, pin: Json, where: str) -> LockedFile:
    parts = path.split("/")
    plain = path.isprintable() and "\\" not in path and len(path.encode("utf-8", "replace")) <= MAX_PATH_BYTES
    if not plain or any(part in ("", ".", "..") or part.lower() == ".git" for part in parts):
        _refuse(f"{where} has the unsafe path {path[:80]!r}")
    _check_keys(pin, f"{where}.files[{path}]", required={"sha256", "size"}, known={"sha256", "size"})
    if not isinstance(pin["sha256"], str) or not re.fullmatch(r"[0-9a-f]{64}", pin["sha256"]):
        _refuse(f"{where}: the sha256 of {path} is not 64 hex digits")
    if type(pin["size"]) is not int or pin["size"] < 0:
        _refuse(f"{where}: the size of {path} is not a number of bytes")
    return LockedFile(pin["sha256"], pin["size"])


def _parse_credit(record: Json, where: str) -> dict[str, list[dict[str, Json]]]:
    credit = record.get("contributors", {})
    if not isinstance(credit, dict) or not all(isinstance(people, list) for people in credit.values()):
        _refuse(f"{where}.contributors must map paths to lists")
    for path, people in credit.items():
        for person in people:
            _check_keys(person, f"{where}.contributors[{path}]", {"contributor"}, CREDIT_KEYS)
            number, rows = person.get("pull_request"), person.get("rows")
            if not isinstance(person["contributor"], str | None) or type(number) not in (int, type(None)):
                _refuse(f"{where}.contributors[{path}] names a contributor and a pull request's number")
            if rows is not None and (not isinstance(rows, list) or [type(row) for row in rows] != [int, int]):
                _refuse(f"{where}.contributors[{path}].rows must be [first, end]")
    return dict(credit)


def _check_tables(record: dict[str, Json]) -> None:
    for name, kind in (("resolved", object), ("seeds", int), ("versions", str), ("outputs", str)):
        table = record.get(name, {})
        if not isinstance(table, dict) or not all(isinstance(value, kind) for value in table.values()):
            _refuse(f"{name} must map names to {'values' if kind is object else kind.__name__}")
    for name in ("device", "corpus_digest", "endpoint"):
        if record.get(name) is not None and not isinstance(record[name], str):
            _refuse(f"{name} must be text")
    if record.get("corpus_digest") and not DIGEST.fullmatch(record["corpus_digest"]):
        _refuse("corpus_digest must be sha256: and 64 hex digits")


def _check_keys(record: Json, where: str, required: set[str], known: set[str]) -> None:
    if not isinstance(record, dict):
        _refuse(f"{where} must be an object")
    for problem, names in (("lacks", required - record.keys()), ("has the unknown key", record.keys() - known)):
        if names:
            _refuse(f"{where} {problem} {min(names)[:80]!r}")


def _refuse_twins(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    record = dict(pairs)
    if len(record) != len(pairs):
        name = next(name for name, n in Counter(name for name, _ in pairs).items() if n > 1)
        _refuse(f"the key {name[:80]!r} appears twice")
    return record


def _refuse_constant(word: str) -> NoReturn:
    _refuse(f"{word} is not a number" if math.isnan(float(word)) else f"{word} is not finite")


def _refuse(why: str) -> NoReturn:
    hint = "take the file as the hub wrote it"
    raise EngineError(f"recipe.lock is refused: {why}; {hint}.", code="lock_invalid", hint=hint)
