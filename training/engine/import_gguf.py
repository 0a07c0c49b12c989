"""A GGUF file as a safetensors folder: weights, config, tokenizer, chat template. Done once, before anything else.

The weights are dequantised: a 4-bit file stays as coarse as it was, but can be trained and merged like any other."""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from training.engine.errors import EngineError
from training.engine.events import emit

MAX_BYTES = 32 << 30  # dequantising holds all weights in memory at once
DTYPES = ("bf16", "fp32")


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="import_gguf", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="folder to create")
    parser.add_argument("--sha256", help="digest the file must have")
    parser.add_argument("--dtype", choices=DTYPES, default="bf16")
    options = parser.parse_args(argv)
    emit("stage", stage="import", state="started", file=options.file.name)
    import_gguf(file=options.file, out=options.out, sha256=options.sha256, dtype=options.dtype)
    emit("done", model=str(options.out))
    return 0


def import_gguf(*, file: Path, out: Path, sha256: str | None = None, dtype: str = "bf16") -> None:
    """Write `out` as a whole or not at all. Raises EngineError when the file is not what it should be."""
    if out.exists():
        raise EngineError(f"{out} exists already; choose a new folder.", code="exists", hint="choose a new folder")
    _check_file(file, sha256)
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        _convert(file.resolve(), draft, dtype)
        draft.chmod(0o755)
        os.rename(draft, out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _check_file(file: Path, sha256: str | None) -> None:
    if not file.is_file():
        raise EngineError(f"{file} is not a file.", code="missing_file", hint="name a .gguf file")
    size_bytes = file.stat().st_size
    if size_bytes > MAX_BYTES:
        raise EngineError(f"{file.name} is larger than {MAX_BYTES >> 30} GiB.", code="too_large")
    with file.open("rb") as reader:
        if reader.read(4) != b"GGUF":
            raise EngineError(f"{file.name} is not a GGUF file.", code="not_gguf", hint="its first bytes must be GGUF")
        reader.seek(0)
        found = hashlib.file_digest(reader, "sha256").hexdigest()
    if sha256 and found != sha256.lower():
        message = f"{file.name} has sha256 {found}, not {sha256.lower()}; download it again."
        raise EngineError(message, code="digest_mismatch")


def _convert(file: Path, out: Path, dtype: str) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    place = {"gguf_file": file.name, "local_files_only": True, "trust_remote_code": False}
    tokenizer = AutoTokenizer.from_pretrained(str(file.parent), **place)
    model = AutoModelForCausalLM.from_pretrained(
        str(file.parent), dtype=torch.float32, quantization_config=GgufConfig(dequantize=True), **place
    )
    # Left in the config, the next reader would look for a quantised file.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model = getattr(model, "bfloat16" if dtype == "bf16" else "float")()
    _fill_generation_config(model, tokenizer)
    for name in ("local_files_only", "is_local", "gguf_file"):  # about this import, not about the tokenizer
        tokenizer.init_kwargs.pop(name, None)
    model.save_pretrained(str(out))
    tokenizer.save_pretrained(str(out))
    for written in out.iterdir():
        written.chmod(0o644)


def _fill_generation_config(model: object, tokenizer: object) -> None:
    """A GGUF file knows where a text begins and ends, but holds no settings for answering."""
    settings = model.generation_config  # type: ignore[attr-defined]
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        token = getattr(tokenizer, name)
        if token is not None:
            setattr(settings, name, token)
            setattr(model.config, name, token)  # type: ignore[attr-defined]
