"""What verifying a release at home costs, offline: `python -m tests.benchmarks.verifying [--mb 2000] [--tool PATH] [--write]`.

The verifier runs as people run it: alone, in Python's isolated mode, and without a network where the system lets it have a
namespace of its own. `--tool` names the public program `model_signing` (pip install model-signing pyOpenSSL), which then
checks the second signature of the same files and has to refuse them with one bit flipped."""

import argparse
import base64
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from moderation.releasing import model_signing, verify_release
from tests.benchmarks.report import Row, describe_machine, publish, read_arguments

LEAST_GB_PER_CPU_S = 0.5
PIECE_BYTES = 1 << 24


def make_files(folder: Path, megabytes: int) -> dict[str, dict[str, Any]]:
    """Ten files of noise; path -> {"sha256", "size"}."""
    files = {}
    for number in range(10):
        path, digest, size = folder / f"model-{number:05}.safetensors", hashlib.sha256(), 0
        with path.open("wb") as file:
            while size < megabytes * 100_000:
                piece = os.urandom(min(PIECE_BYTES, megabytes * 100_000 - size))
                file.write(piece)
                digest.update(piece)
                size += len(piece)
        files[path.name] = {"sha256": digest.hexdigest(), "size": size}
    return files


def sign(place: Path, files: dict[str, dict[str, Any]]) -> None:
    """manifest.json and signature.json of a release that nobody reviewed, and both files of the public format."""
    manifest: dict[str, Any] = {
        "schema": verify_release.SCHEMA,
        "repository": "a/b",
        "version": "1.0.0",
        "files": files,
    }
    digest = "sha256:" + hashlib.sha256(verify_release.canonical(manifest)).hexdigest()
    manifest |= {"approved_digest": digest, "approvals": [], "reviewed": False, "published_at": "2026-11-28T12:00:00Z"}
    key = Ed25519PrivateKey.generate()
    signature = {
        "algorithm": "ed25519",
        "public_key": base64.b64encode(key.public_key().public_bytes_raw()).decode(),
        "signature": base64.b64encode(key.sign(verify_release.canonical(manifest))).decode(),
    }
    (place / "manifest.json").write_bytes(verify_release.canonical(manifest))
    (place / "signature.json").write_text(json.dumps(signature))
    secret = model_signing.make_key()
    model_signing.signing.load_secret = lambda name, make: secret
    (place / "model.sig").write_text(json.dumps(model_signing.sign_files("a/b v1.0.0", files)))
    (place / "model_signing.pub").write_bytes(model_signing.public_pem())


def run_offline(command: list[str]) -> tuple[int, float, str]:
    """(exit status, CPU seconds, what it said)."""
    alone = ["unshare", "--net"] if os.geteuid() == 0 and shutil.which("unshare") else []
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([*alone, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done.returncode, seconds, done.stdout


def flip_a_bit(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))


def measure(megabytes: int, tool: str) -> list[Row]:
    rows = []
    with tempfile.TemporaryDirectory(prefix="verifying-") as name:
        place = Path(name)
        (place / "model").mkdir()
        sign(place, make_files(place / "model", megabytes))
        ours = [sys.executable, "-I", verify_release.__file__, str(place / "manifest.json"), str(place / "model")]
        theirs = [tool, "verify", "key", str(place / "model"), "--signature", str(place / "model.sig"),
                  "--public_key", str(place / "model_signing.pub")]  # fmt: skip
        speeds, programs = {}, {"ours": ours, **({"model_signing": theirs} if tool else {})}
        for who, command in programs.items():
            status, seconds, said = run_offline(command)
            assert status == 0, said
            speeds[who] = megabytes / 1000 / seconds
        flip_a_bit(place / "model" / "model-00007.safetensors")
        for who, command in programs.items():
            status, _, said = run_offline(command)
            is_caught = status == 1 and "model-00007.safetensors" in said
            told = next((line for line in said.splitlines() if "00007" in line), "nothing")
            rows.append(Row(f"one bit flipped in {megabytes} MB, {who}", told[:110],
                            target="refused, the file named", is_met=is_caught))  # fmt: skip
    rate = Row(
        f"verifying {megabytes} MB offline", f"{speeds['ours']:.2f} GB per CPU second",
        f"{speeds['model_signing']:.2f}, model_signing" if tool else "",
        speeds["ours"] / speeds["model_signing"] if tool else None,
        f"at least {LEAST_GB_PER_CPU_S}", speeds["ours"] >= LEAST_GB_PER_CPU_S,
    )  # fmt: skip
    return [rate, *rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mb", type=int, default=2000)
    parser.add_argument("--tool", default="", help="the public program, where it is installed")
    given = read_arguments(parser)
    machine = describe_machine()
    publish("Verifying a release", measure(given.mb, given.tool), machine=machine, write=given.write)


if __name__ == "__main__":
    main()
