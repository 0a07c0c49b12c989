"""The lock: pip reads it, `./manage.py` cuts it, and its first section is enough for the site."""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement as Reference
from packaging.utils import canonicalize_name

from hub.site.bootstrap.requirements import (
    CHECKOUT,
    LOCK,
    SECTIONS,
    MalformedLock,
    missing,
    parse_requirement,
    read_lock,
    read_project_ranges,
)


def test_the_lock_has_its_sections_in_the_order_of_installation() -> None:
    assert tuple(read_lock()) == SECTIONS


def test_our_reading_of_the_lock_agrees_with_that_of_pip() -> None:
    ours = [one for section in read_lock().values() for one in section]
    lines = [line for line in LOCK.read_text().splitlines() if line and not line.startswith("#")]
    reference = [Reference(line) for line in lines]
    assert [one.name for one in ours] == [canonicalize_name(one.name) for one in reference]
    assert len({one.name for one in ours}) == len(ours)


@pytest.mark.parametrize(("url", "wanted"), [("", False), ("s3://hub", True)])
def test_the_packages_for_a_bucket_are_installed_where_one_is_named(url: str, wanted: bool) -> None:
    show = "from hub.site.bootstrap.requirements import RUNTIME, WEB; print('s3' in WEB, 's3' in RUNTIME)"
    environment = {"PATH": os.environ["PATH"], "STORE_URL": url}
    said = subprocess.run([sys.executable, "-c", show], cwd=CHECKOUT, env=environment, capture_output=True, text=True)
    assert said.stdout == f"{wanted} {wanted}\n", said.stderr


def test_every_version_is_exact_but_that_of_torch() -> None:
    ranges = [one for section in read_lock().values() for one in section if [op for op, _ in one.bounds] != ["=="]]
    assert [one.line for one in ranges] == ["torch>=2.11,<2.14"]


def test_each_section_needs_nothing_from_a_later_one() -> None:
    have: set[str] = set()
    for section in read_lock().values():
        have |= {one.name for one in section}
        for one in section:
            for line in metadata.requires(one.name) or []:
                needed = Reference(line)
                if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                    assert canonicalize_name(needed.name) in have, f"{one.name} needs {line}"


def test_the_lock_lies_within_the_ranges_of_the_project() -> None:
    locked = {one.name: one for section in read_lock().values() for one in section}
    for wanted in read_project_ranges(SECTIONS):
        bounds = dict(locked[wanted.name].bounds)
        assert wanted.name == "torch" or wanted.allows(bounds["=="]), wanted.line


@pytest.mark.parametrize(
    "line", ["==2.0", "~=2.1", "~=2.1.3", ">=2.11,<2.14", "!=2.0", "<=2.1", ">2.0", "==9.1.2.post2"]
)
@pytest.mark.parametrize("version", "1.9 2.0 2.0.0 2.1 2.1.2 2.1.3 2.1.10 2.2 2.13.0+cpu 2.14.0 3 9.1.2.post2".split())
def test_bounds_mean_what_they_mean_to_pip(line: str, version: str) -> None:
    assert parse_requirement(f"thing{line}").allows(version) == Reference(f"thing{line}").specifier.contains(version)


def test_a_malformed_lock_names_its_line(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("# --- web\ndjango==5.2.19\nwhat is this\n")
    with pytest.raises(MalformedLock, match="requirements.lock:3"):
        read_lock(lock)
    lock.write_text("django==5.2.19\n")
    with pytest.raises(MalformedLock, match="before the first section"):
        read_lock(lock)


def test_what_is_not_installed_is_missing() -> None:
    wanted = [parse_requirement(line) for line in ("pytest>=1", "pytest<1", "no-such-package==1")]
    assert [one.line for one in missing(wanted)] == ["pytest<1", "no-such-package==1"]
