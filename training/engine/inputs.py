"""The folder of inputs: which repository lies where, at which commit, and who brought which file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from training.engine.digests import digest_file
from training.engine.errors import EngineError

MAX_INDEX_BYTES = 64 << 20  # inputs.json of a very large dataset; more is not an index


class Reference(Protocol):
    @property
    def repo(self) -> str: ...
    @property
    def revision(self) -> str: ...


@dataclass(frozen=True)
class Credit:
    """Who brought rows of a file. `rows` is a half-open range of row numbers from 0, or None for the whole file."""

    contributor: str | None
    pull_request: int | None
    rows: tuple[int, int] | None = None


@dataclass(frozen=True)
class InputRepo:
    type: str  # model | dataset
    id: str  # NAMESPACE/NAME
    revision: str
    commit: str | None
    folder: Path
    root: Path  # the inputs folder; nothing outside of it is read
    key: str  # what row ids start with
    contributors: Mapping[str, tuple[Credit, ...]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        revision = self.commit[:8] if self.commit else self.revision
        return f"{self.id}@{revision}" if revision else self.id

    def list_files(self) -> list[str]:
        """Relative paths of the files, sorted. Hidden files and folders are none of the data."""
        try:
            found = [p for p in self.folder.rglob("*") if p.is_file()]
        except OSError as error:
            raise self._unreadable(error.strerror or str(error)) from error
        paths = (p.relative_to(self.folder) for p in found)
        return sorted(p.as_posix() for p in paths if not any(part.startswith(".") for part in p.parts))

    def find_file(self, path: str) -> Path:
        """The file's place on disk. A link that leads out of the inputs folder is refused."""
        place = (self.folder / path).resolve()
        if not place.is_relative_to(self.root.resolve()):
            raise EngineError(f"{self.name}: {path} is a link out of the inputs folder; store the file itself",
                              code="input_outside")  # fmt: skip
        return place

    def credit(self, path: str, row: int) -> Credit:
        """Who brought row number `row` (from 0) of `path`: the last entry that covers it, for that is the newest."""
        covering = [c for c in self.contributors.get(path, ()) if c.rows is None or c.rows[0] <= row < c.rows[1]]
        return covering[-1] if covering else Credit(None, None)

    def hash_files(self) -> dict[str, dict[str, Any]]:
        """{path: {"sha256", "size"}} of every file."""
        places = {path: self.find_file(path) for path in self.list_files()}
        return {path: {"sha256": digest_file(p), "size": p.stat().st_size} for path, p in places.items()}

    def check_readable(self) -> None:
        if not self.folder.is_dir():
            raise self._unreadable("the folder is missing")
        if not self.list_files():
            raise self._unreadable("the folder is empty")

    def _unreadable(self, reason: str) -> EngineError:
        return EngineError(
            f"{self.type} {self.name} cannot be read ({reason}); fetch the inputs again",
            code="input_unreadable",
        )


class Inputs:
    """What DIR/inputs.json lists; without that file DIR/models/NS/NAME and DIR/datasets/NS/NAME."""

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise EngineError(f"The inputs folder {root} does not exist; run `fetch` first", code="inputs_missing")
        self.root = root
        self.listed = _read_index(root)

    def find(self, type: str, reference: Reference) -> InputRepo:
        repo = self._find_listed(type, reference) if self.listed is not None else self._find_by_layout(type, reference)
        repo.check_readable()
        return repo

    def _find_listed(self, type: str, reference: Reference) -> InputRepo:
        assert self.listed is not None
        same = [r for r in self.listed if r.type == type and r.id.casefold() == reference.repo.casefold()]
        exact = [r for r in same if reference.revision in (r.revision, r.commit)]
        # A lock pins one commit of a repository; the recipe beside it may still name the branch.
        for repo in exact or (same if len(same) == 1 else []):
            return repo
        known = ", ".join(sorted(f"{r.id}@{r.revision}" for r in self.listed)) or "none"
        raise EngineError(
            f"{type} {reference.repo}@{reference.revision} is not among the inputs ({known}); fetch it first",
            code="input_missing",
        )

    def _find_by_layout(self, type: str, reference: Reference) -> InputRepo:
        folder = self.root / f"{type}s" / reference.repo
        if not folder.is_dir():
            raise EngineError(
                f"{type} {reference.repo}@{reference.revision} is not among the inputs: "
                f"{folder.relative_to(self.root)} is missing; fetch it first",
                code="input_missing",
            )
        return InputRepo(type, reference.repo, reference.revision, None, folder, self.root, reference.repo)


def _read_index(root: Path) -> list[InputRepo] | None:
    path = root / "inputs.json"
    if not path.is_file():
        return None
    try:
        if path.stat().st_size > MAX_INDEX_BYTES:
            raise ValueError("it is larger than 64 MiB")
        index = json.loads(path.read_text(encoding="utf-8"))
        if index["version"] != 1:
            raise ValueError(f"version {index['version']} is newer than this program")
        return [_read_entry(entry, root) for entry in index["repositories"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EngineError(
            f"inputs.json cannot be read: {error}; fetch the inputs again", code="inputs_invalid"
        ) from error


def _read_entry(entry: dict[str, Any], root: Path) -> InputRepo:
    folder = (root / entry["folder"]).resolve()
    if not folder.is_relative_to(root.resolve()):
        raise ValueError(f"folder {entry['folder']!r} lies outside of the inputs")
    credits = {
        path: tuple(_read_credit(item) for item in items) for path, items in (entry.get("contributors") or {}).items()
    }
    key = str(entry.get("key") or entry["id"])
    return InputRepo(
        entry["type"], entry["id"], entry["revision"], entry.get("commit"), folder, root, key, credits
    )  # fmt: skip


def _read_credit(item: dict[str, Any]) -> Credit:
    rows = item.get("rows")
    return Credit(item.get("contributor"), item.get("pull_request"), (int(rows[0]), int(rows[1])) if rows else None)
