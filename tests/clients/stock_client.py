"""The stock client as a person runs it: a process of its own, on a machine that has never seen the hub."""

import hashlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.clients.running_hub import TOKENS
from tests.recordings import make_recording

CARD = "---\nlicense: cc0-1.0\n---\n# Tide tables\n"


class Machine:
    """Somebody's computer: an empty HF_HOME and Xet cache, HF_ENDPOINT set, and nothing else."""

    def __init__(self, folder: Path, endpoint: str, person: str | None = None, **more: str) -> None:
        self.folder = folder
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "HF_HOME": str(folder / "hf"),
            "HF_XET_CACHE": str(folder / "xet"),
            "HF_ENDPOINT": endpoint,
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "NO_PROXY": "127.0.0.1",
            **({"HF_TOKEN": TOKENS[person]} if person else {}),
            **more,
        }
        folder.mkdir(parents=True, exist_ok=True)

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """`hf ...`, still running."""
        program = str(Path(sys.executable).parent / "hf")
        return subprocess.Popen(
            [program, *arguments], env=self.environment, cwd=self.folder, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def hf(self, *arguments: str) -> str:
        """What `hf ...` prints."""
        process = self.start(*arguments)
        output, _ = process.communicate(timeout=900)
        assert process.returncode == 0, output
        return output

    def python(self, code: str) -> str:
        """What a script prints that begins with `api = HfApi()`."""
        script = f"from huggingface_hub import *\napi = HfApi()\n{code}"
        done = subprocess.run(
            [sys.executable, "-c", script], env=self.environment, cwd=self.folder, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def run(self, script: str, *arguments: str) -> Any:
        """What a script prints as JSON in its last line."""
        command = [sys.executable, "-c", script, *arguments]
        done = subprocess.run(command, env=self.environment, cwd=self.folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])


def make_folder(folder: Path, *, size_bytes: int, seed: int) -> Path:
    """A dataset: three files of noise that are `size_bytes` together, a card and a table."""
    folder.mkdir(parents=True)
    noise = random.Random(seed)
    for number in range(3):
        with open(folder / f"part-{number}.bin", "wb") as file:
            left = size_bytes // 3 - file.write(make_recording(0))
            while left:
                left -= file.write(noise.randbytes(min(left, 1 << 20)))
    (folder / "README.md").write_text(CARD)
    (folder / "tides.jsonl").write_text('{"harbour": "Brest", "high": 6.1}\n')
    return folder


def overwrite(path: Path, *, at: int, count: int, seed: int) -> None:
    """New noise in the middle of a file."""
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(random.Random(seed).randbytes(count))


def digests(folder: Path) -> dict[str, str]:
    """path -> SHA-256 of all files but those that clients keep for themselves."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not name.startswith((".git/", ".cache/", ".gitattributes")):
            with open(path, "rb") as file:
                found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found
