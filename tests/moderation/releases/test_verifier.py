"""The verifier that people take home: one file, no hub code, no network."""

import base64
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from moderation import verify_release

SCRIPT = Path(verify_release.__file__)
FILES = {"config.json": b"{}", "model.safetensors": b"weights" * 100, "docs/é.md": b"text"}
KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)


def sha256(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()


def make_manifest(**changes: Any) -> dict[str, Any]:
    manifest: dict[str, Any] = {
        "schema": verify_release.SCHEMA,
        "repository": "alice/tides",
        "version": "1.0.0",
        "commit": "c" * 40,
        "files": {path: {"sha256": sha256(data), "size": len(data)} for path, data in FILES.items()},
        "contributors": [{"name": "charlie", "roles": ["brought data of charlie/rows"]}],
        "gate": [],
    }
    digest = "sha256:" + sha256(verify_release.canonical(manifest))
    manifest["approved_digest"] = digest
    manifest["approvals"] = [
        {"by": name, "at": "2026-11-23T08:00:00+00:00", "digest": digest} for name in ("bob", "dora")
    ]
    return {**manifest, "reviewed": True, "published_at": "2026-11-23T08:00:00+00:00", **changes}


def write(folder: Path, manifest: dict[str, Any]) -> None:
    signed = KEY.sign(verify_release.canonical(manifest))
    public = base64.b64encode(KEY.public_key().public_bytes_raw()).decode()
    signature = {"algorithm": "ed25519", "public_key": public, "signature": base64.b64encode(signed).decode()}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2))
    (folder / "signature.json").write_text(json.dumps(signature))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with manifest.json, signature.json and the downloaded release in "model"."""
    for path, data in FILES.items():
        target = tmp_path / "model" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    write(tmp_path, make_manifest())
    return tmp_path


def verify(place: Path, *more: str) -> int:
    return verify_release.main([str(place / "manifest.json"), str(place / "model"), *more])


def test_a_release_that_is_as_it_was_signed_verifies(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(place) == 0
    said = capsys.readouterr().out
    assert "approved by bob, dora" in said and "all 3 files" in said and "The release verifies." in said


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
    ]
    done = subprocess.run(command, cwd=alone, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and "The release verifies." in done.stdout
    lines = [line.strip() for line in SCRIPT.read_text().splitlines()]
    names = {line.split()[1].split(".")[0] for line in lines if line.startswith(("import ", "from "))}
    assert names - {"cryptography"} <= set(sys.stdlib_module_names)


def edit_manifest(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    """Change the manifest and leave its signature."""

    def spoil(place: Path) -> None:
        manifest = json.loads((place / "manifest.json").read_text())
        change(manifest)
        (place / "manifest.json").write_text(json.dumps(manifest))

    return spoil


def sign_again(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    """Change the manifest and sign it anew: what a hub that wants to deceive could do."""

    def spoil(place: Path) -> None:
        manifest = json.loads((place / "manifest.json").read_text())
        change(manifest)
        write(place, manifest)

    return spoil


def flip(path: str, at: int) -> Callable[[Path], None]:
    def spoil(place: Path) -> None:
        data = bytearray((place / path).read_bytes())
        data[at] ^= 1
        (place / path).write_bytes(bytes(data))

    return spoil


TAMPERINGS: list[tuple[str, Callable[[Path], Any], str]] = [
    ("a version", edit_manifest(lambda m: m.update(version="1.0.1")), "does not belong"),
    ("a commit", edit_manifest(lambda m: m.update(commit="d" * 40)), "does not belong"),
    ("an approver", edit_manifest(lambda m: m["approvals"][0].update(by="eve")), "does not belong"),
    ("an added key", edit_manifest(lambda m: m.update(extra=1)), "does not belong"),
    ("a removed key", edit_manifest(lambda m: m.pop("gate")), "does not belong"),
    ("another key", lambda p: re_key(p), "was changed"),
    ("algorithm", lambda p: edit_signature(p, algorithm="none"), "algorithm is 'none'"),
    ("no signature", lambda p: edit_signature(p, signature=None), "does not belong"),
    ("half a signature", lambda p: edit_signature(p, signature="AAAA"), "does not belong"),
    ("files after approval", sign_again(lambda m: m["files"].pop("docs/é.md")), "What was approved is not"),
    ("data after approval", sign_again(lambda m: m.update(contributors=[])), "What was approved is not"),
    ("an old approval", sign_again(lambda m: m["approvals"][1].update(digest="sha256:0")), "dora speaks of another"),
    ("one approver twice", sign_again(lambda m: m["approvals"][1].update(by="bob")), "names 1 people"),
    ("no approvals", sign_again(lambda m: m.update(approvals=[])), "names 0 people"),
    ("an approver who made it", sign_again(lambda m: m["approvals"][1].update(by="charlie")), "charlie approved it and made"),
    ("a flipped first byte", flip("model/model.safetensors", 0), "model.safetensors was changed"),
    ("a flipped last byte", flip("model/model.safetensors", -1), "model.safetensors was changed"),
    ("a flipped byte of text", flip("model/docs/é.md", 2), "docs/é.md was changed"),
    ("a missing file", lambda p: (p / "model/config.json").unlink(), "config.json is missing"),
    ("an empty file", lambda p: (p / "model/config.json").write_bytes(b""), "config.json has 0 bytes"),
    ("a longer file", lambda p: (p / "model/config.json").write_bytes(b"{} "), "config.json has 3 bytes"),
    ("an added file", lambda p: (p / "model/evil.py").write_bytes(b"x"), "evil.py is in the folder and not"),
    ("an added hidden file", lambda p: (p / "model/docs/.x").write_bytes(b"x"), "docs/.x is in the folder"),
    ("a renamed file", lambda p: (p / "model/config.json").rename(p / "model/c.json"), "config.json is missing"),
    ("a file that is a link", lambda p: relink(p / "model/config.json", p / "c"), "is a link"),
    ("a path that leads out", sign_again(lambda m: m["files"].update({"../x": {"sha256": "0", "size": 0}})), "../x is no path"),
]  # fmt: skip


def re_key(place: Path) -> None:
    other = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    edit_signature(place, public_key=base64.b64encode(other).decode())


def edit_signature(place: Path, **changes: Any) -> None:
    signature = json.loads((place / "signature.json").read_text())
    (place / "signature.json").write_text(json.dumps({**signature, **changes}))


def relink(path: Path, target: Path) -> None:
    path.rename(target)
    path.symlink_to(target)


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
    from moderation import manifests
    from moderation.policy import NEEDED_APPROVALS

    manifest = make_manifest()
    assert verify_release.canonical(manifest) == manifests.canonical(manifest)
    assert (verify_release.SCHEMA, verify_release.ADDED_LATER) == (manifests.SCHEMA, manifests.ADDED_LATER)
    assert verify_release.NEEDED_APPROVALS == NEEDED_APPROVALS
