"""The lock and what is installed: which packages are asked for, and which of them an interpreter already has.

pip's own parser is not there before the first installation, so this reads the small part of PEP 508 and PEP 440 that
our own files use: `name[extra]==1.2`, `>=`, `<=`, `<`, `>`, `!=`, `~=` on plain release numbers."""

import importlib
import os
import re
import sys
import tomllib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[3]
LOCK = CHECKOUT / "requirements.lock"
SECTIONS = ("web", "s3", "models", "test")
WEB = ("web", "s3") if os.environ.get("STORE_URL") else ("web",)  # what the site itself needs
RUNTIME = (*WEB, "models")

_LINE = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(\[[^\]]*\])?\s*(?P<bounds>[^;#]*)")
_BOUND = re.compile(r"(==|~=|>=|<=|!=|>|<)\s*([^\s,]+)")


@dataclass(frozen=True)
class Requirement:
    name: str  # normalised: lower case, dashes
    bounds: tuple[tuple[str, str], ...]  # (operator, version)
    line: str  # as written, for pip

    def allows(self, version: str) -> bool:
        return all(_holds(version, operator, wanted) for operator, wanted in self.bounds)


class MalformedLock(ValueError):
    """A line that is not understood; str() names file, line and text."""


def parse_requirement(line: str) -> Requirement:
    """Raises ValueError if the line is none."""
    match = _LINE.fullmatch(line.strip())
    if match is None:
        raise ValueError(f"{line!r} is no requirement")
    text = match["bounds"].strip()
    bounds = tuple(_BOUND.findall(text))
    if len(bounds) != len([part for part in text.split(",") if part.strip()]):
        raise ValueError(f"{line!r} has a bound that is not understood")
    return Requirement(re.sub(r"[-_.]+", "-", match["name"]).lower(), bounds, line.strip())


def read_lock(path: Path = LOCK) -> dict[str, list[Requirement]]:
    """Sections of the lock in their order. Raises MalformedLock."""
    sections: dict[str, list[Requirement]] = {}
    current: list[Requirement] | None = None
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.startswith("# ---"):
            current = sections.setdefault(line.removeprefix("# ---").partition(":")[0].strip(), [])
        elif line.strip() and not line.startswith("#"):
            if current is None:
                raise MalformedLock(f"{path.name}:{number}: {line!r} stands before the first section")
            try:
                current.append(parse_requirement(line))
            except ValueError as problem:
                raise MalformedLock(f"{path.name}:{number}: {problem}") from None
    return sections


def read_project_ranges(sections: tuple[str, ...], path: Path = CHECKOUT / "pyproject.toml") -> list[Requirement]:
    """The ranges that the project works with, wider than the lock: what somebody else's environment must satisfy."""
    project = tomllib.loads(path.read_text())["project"]
    optional = [lines for name, lines in project["optional-dependencies"].items() if name in sections]
    return [parse_requirement(line) for line in sum(optional, project["dependencies"])]


def installed_version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def missing(wanted: list[Requirement]) -> list[Requirement]:
    """Those that the running interpreter does not have in a version that is allowed."""
    importlib.invalidate_caches()  # pip may have run since we looked last
    return [one for one in wanted if (have := installed_version(one.name)) is None or not one.allows(have)]


def is_own_environment() -> bool:
    """True inside the .venv of this checkout."""
    return Path(sys.prefix).resolve() == (CHECKOUT / ".venv").resolve()


def missing_sections(sections: tuple[str, ...]) -> list[str]:
    """The sections that still have to be installed for the running interpreter.

    Our own .venv has to match the lock exactly; somebody else's environment has to satisfy the project's ranges."""
    if is_own_environment():
        lock = read_lock()
        return [name for name in sections if missing(lock[name])]
    return list(sections) if missing(read_project_ranges(sections)) else []


def _release(version: str) -> tuple[int, ...]:
    match = re.match(r"\d+(\.\d+)*", version)
    parts = [int(part) for part in match[0].split(".")] if match else []
    while parts and parts[-1] == 0:  # 2.0 and 2.0.0 are one release
        parts.pop()
    return tuple(parts)


def _holds(version: str, operator: str, wanted: str) -> bool:
    version = version.partition("+")[0]  # 2.13.0+cpu is a build of 2.13.0
    have, bound = _release(version), _release(wanted)
    if operator == "==":
        return version == wanted or (have == bound and version.replace(".", "").isdigit())
    if operator == "~=":
        prefix = tuple(int(part) for part in wanted.split(".")[:-1])
        return have >= bound and (have + (0,) * len(prefix))[: len(prefix)] == prefix
    return {">=": have >= bound, "<=": have <= bound, "!=": have != bound, ">": have > bound, "<": have < bound}[
        operator
    ]
