"""The verifier that people take home: one file, no hub code, no network."""

import base64
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from moderation.releasing import verify_release
from tests.moderation.releases.tampering import (
    FILES,
    TAMPERINGS,
    make_entries,
    make_manifest,
    write,
    write_log,
)

SCRIPT = Path(verify_release.__file__)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with manifest.json, signature.json and the downloaded release in "model"."""
    for path, data in FILES.items():
        target = tmp_path / "model" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    write(tmp_path, make_manifest())
    write_log(tmp_path / "audit.jsonl", make_entries())
    write_log(tmp_path / "seen.jsonl", make_entries(6))
    return tmp_path


def verify(place: Path, *more: str) -> int:
    logs = ["--log", str(place / "audit.jsonl"), "--seen", str(place / "seen.jsonl")]
    return verify_release.main([str(place / "manifest.json"), str(place / "model"), *logs, *more])


def test_a_release_that_is_as_it_was_signed_verifies(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(place) == 0
    said = capsys.readouterr().out
    assert "approved by bob, dora" in said and "all 3 files" in said and "The release verifies." in said
    assert "the log of decisions is whole" in said


def test_the_log_is_checked_without_a_release_too(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = place / "audit.jsonl"
    assert verify_release.main(["--log", str(log)]) == 0
    assert "The log verifies." in capsys.readouterr().out
    rows = log.read_text().splitlines(keepends=True)
    log.write_text("".join(rows[:1] + rows[2:]))
    assert verify_release.main(["--log", str(log)]) == 1
    assert "Entry 2 of the log is missing" in capsys.readouterr().out
    assert verify_release.main([]) == 2
    assert "Give manifest.json of a release, or --log" in capsys.readouterr().err


def test_it_runs_alone_with_only_cryptography(place: Path, tmp_path: Path) -> None:
    """Away from the project, with Python's isolated mode, so that nothing of the hub can be imported."""
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(SCRIPT, alone)
    command = [
        sys.executable,
        "-I",
        str(alone / "verify_release.py"),
        str(place / "manifest.json"),
        str(place / "model"),
        "--log",
        str(place / "audit.jsonl"),
    ]
    done = subprocess.run(command, cwd=alone, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and "The release verifies." in done.stdout
    lines = [line.strip() for line in SCRIPT.read_text().splitlines()]
    names = {line.split()[1].split(".")[0] for line in lines if line.startswith(("import ", "from "))}
    assert names - {"cryptography"} <= set(sys.stdlib_module_names)


def test_there_are_fifty_tamperings_and_more() -> None:
    assert len({case[0] for case in TAMPERINGS}) == len(TAMPERINGS) >= 50


@pytest.mark.parametrize(("spoil", "sentence"), [case[1:] for case in TAMPERINGS], ids=[case[0] for case in TAMPERINGS])
def test_a_tampering_is_named(
    place: Path, spoil: Callable[[Path], Any], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(place)
    assert verify(place) == 1
    said = capsys.readouterr().out
    assert sentence in said and "does NOT verify" in said


def test_every_byte_of_the_canonical_manifest_counts(place: Path) -> None:
    signature = json.loads((place / "signature.json").read_text())
    manifest = make_manifest()
    text = verify_release.canonical(manifest).decode()
    for at in range(0, len(text), 7):
        if text[at].isalnum():
            spoilt = text[:at] + ("a" if text[at] != "a" else "b") + text[at + 1 :]
            try:
                value = json.loads(spoilt)
            except ValueError:
                continue
            assert verify_release.check_signature(value, signature, None), spoilt[at - 20 : at + 20]


def test_a_key_that_is_given_must_be_the_signer(place: Path) -> None:
    signature = json.loads((place / "signature.json").read_text())
    assert verify(place, "--key", signature["public_key"]) == 0
    assert verify(place, "--key", base64.b64encode(b"o" * 32).decode()) == 1


def test_an_unreviewed_release_says_so(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(place, make_manifest(reviewed=False, approvals=[]))
    assert verify(place) == 0
    assert "UNREVIEWED" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda p: (p / "manifest.json").unlink(), "cannot be read"),
        (lambda p: (p / "signature.json").unlink(), "cannot be read"),
        (lambda p: (p / "manifest.json").write_text("{"), "is not JSON"),
        (lambda p: (p / "manifest.json").write_text("[]"), "no JSON object"),
        (lambda p: (p / "manifest.json").write_text('{"a": 1, "a": 2}'), "appears twice"),
        (lambda p: (p / "manifest.json").write_text('{"schema": "other"}'), "no manifest of a release"),
        (lambda p: shutil.rmtree(p / "model"), "is no folder"),
    ],
)
def test_a_question_that_cannot_be_asked_is_no_verdict(
    place: Path, spoil: Callable[[Path], Any], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(place)
    assert verify(place) == 2
    assert sentence in capsys.readouterr().err


def test_the_verifier_and_the_hub_mean_the_same() -> None:
    from moderation.releasing import manifests
    from moderation.rules.reasons import NEEDED_APPROVALS

    manifest = make_manifest()
    assert verify_release.canonical(manifest) == manifests.canonical(manifest)
    assert (verify_release.SCHEMA, verify_release.ADDED_LATER) == (manifests.SCHEMA, manifests.ADDED_LATER)
    assert verify_release.NEEDED_APPROVALS == NEEDED_APPROVALS


def test_a_policy_is_compared_and_its_number_of_approvals_counts(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = b"version: 1\n"
    (place / "policy.yaml").write_bytes(text)
    named = {"repository": "hub/rules", "commit": "c" * 40, "digest": f"sha256:{hashlib.sha256(text).hexdigest()}"}

    def try_it(asked: int) -> str:
        write(place, make_manifest(policy={**named, "values": {"who_decides": {"release_approvals": asked}}}))
        verify_release.main([str(place / "manifest.json"), "--policy", str(place / "policy.yaml")])
        return capsys.readouterr().out

    assert "judged by this policy: hub/rules cccc" in try_it(2) and "3 are needed" not in try_it(1)
    assert "names 2 people who approved; 3 are needed" in try_it(3)
    (place / "policy.yaml").write_bytes(text + b"# other")
    assert "policy.yaml is not the policy that the release names" in try_it(2)
