"""What revisions of models and tables cost in stored bytes: `python -m tests.benchmarks.revisions [--tunes N] [--write]`.

The weights are SmolLM2-135M (`--tiny`: noise of the same names, a thousandth of it). A fine-tune is a random low-rank update
(rank 8, Gaussian factors, its norm one hundredth of the matrix's), merged and rounded to bf16: training ten models takes
hours, and which bytes change depends on where the update lands and how large it is, not on what it learned."""

import argparse
import io
import json
import random
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file, save

from hub.storage.blobs import BlobStore
from tests.benchmarks.report import Row, describe_machine, publish, read_arguments

Weights = dict[str, torch.Tensor]
RANK, NORM = 8, 0.01
ALL_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
SAMPLE = 8_000_000  # bytes of a delta that are compressed to tell its size


def load_weights(*, tiny: bool, torch_rng: torch.Generator) -> Weights:
    if not tiny:
        from hub.site.bootstrap.assets import ensure_smollm2

        return load_file(ensure_smollm2() / "model.safetensors")
    shapes = {"embed_tokens": (512, 64), **{name: (64, 64) for name in ALL_LINEAR}}
    return {
        f"layers.{layer}.{name}.weight": torch.randn(shape, generator=torch_rng).to(torch.bfloat16)
        for layer in range(4)
        for name, shape in shapes.items()
    }


def merge_lora(weights: Weights, targets: tuple[str, ...], rng: torch.Generator) -> Weights:
    tuned = dict(weights)
    for name, old in weights.items():
        if old.ndim == 2 and any(target in name for target in targets):
            wide = old.float()
            update = torch.randn(old.shape[0], RANK, generator=rng) @ torch.randn(RANK, old.shape[1], generator=rng)
            tuned[name] = (wide + update * (NORM * wide.norm() / update.norm())).to(old.dtype)
    return tuned


def tune_fully(weights: Weights, rng: torch.Generator) -> Weights:
    def move(old: torch.Tensor) -> torch.Tensor:
        wide = old.float()
        noise = torch.randn(old.shape, generator=rng)
        return (wide + noise * (NORM * wide.norm() / noise.norm())).to(old.dtype)

    return {name: move(old) for name, old in weights.items()}


class Store:
    """An empty store that tells what each file added to it on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.blobs = BlobStore(folder)

    def add(self, data: bytes) -> int:
        """Bytes that the store has grown by."""
        before = self.size()
        self.blobs.add(data[at : at + 1_000_000] for at in range(0, len(data), 1_000_000))
        return self.size() - before

    def size(self) -> int:
        return sum(path.stat().st_size for path in (self.folder / "xorbs").rglob("*") if path.is_file())


def changed_share(old: Weights, new: Weights) -> float:
    """Bytes of the tensors that are not equal, of all: what a store of tensors would add."""
    changed = sum(new[name].nbytes for name in new if not torch.equal(old[name], new[name]))
    return changed / sum(tensor.nbytes for tensor in new.values())


def delta_share(old: Weights, new: Weights) -> float:
    """What a compressed difference would take: xor of the bits, low and high bytes apart, zlib, by sample."""
    size, whole = 0.0, sum(tensor.nbytes for tensor in new.values())
    limit = max(1000, SAMPLE // len(new))
    for name, tensor in new.items():
        if torch.equal(old[name], tensor):
            continue
        bits = torch.bitwise_xor(old[name].view(torch.int16), tensor.view(torch.int16)).flatten()[: limit // 2]
        planes = bits.numpy().view("uint8").reshape(-1, 2).T.tobytes()
        size += tensor.nbytes * min(1.0, len(zlib.compress(planes, 1)) / len(planes))
    return size / whole


def compare_models(folder: Path, weights: Weights, *, tunes: int, rng: torch.Generator) -> Iterator[Row]:
    store = Store(folder / "models")
    whole = len(data := save(weights))
    first = store.add(data)
    yield Row("first copy of the model, stored", f"{first / whole:.1%} of its bytes")
    added, like_tensors, like_deltas = 0, 0.0, 0.0
    for _ in range(tunes):
        tuned = merge_lora(weights, ("q_proj", "v_proj"), rng)
        added += store.add(save(tuned))
        like_tensors += changed_share(weights, tuned) / tunes
        like_deltas += delta_share(weights, tuned) / tunes
    share = added / (tunes * whole)
    others = f"{like_tensors:.1%} by tensors, {like_deltas:.1%} by deltas"
    yield Row(
        f"{tunes} LoRA fine-tunes of q and v, merged, new bytes",
        f"{share:.1%}",
        others,
        share,
        "under 0.25",
        share < 0.25,
    )
    others_made: dict[str, Callable[[], Weights]] = {
        "LoRA of all linear layers": lambda: merge_lora(weights, ALL_LINEAR, rng),
        "full fine-tune": lambda: tune_fully(weights, rng),
    }
    for name, make in others_made.items():
        tuned = make()
        share = store.add(save(tuned)) / whole
        others = f"{changed_share(weights, tuned):.1%} by tensors, {delta_share(weights, tuned):.1%} by deltas"
        yield Row(f"{name}, merged, new bytes", f"{share:.1%}", others, share)


def make_rows(count: int, rng: random.Random) -> list[dict[str, object]]:
    words = [f"w{rng.getrandbits(30):x}" for _ in range(5000)]
    return [{"id": number, "text": " ".join(rng.choices(words, k=40))} for number in range(count)]


def write_jsonl(rows: list[dict[str, object]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def write_parquet(rows: list[dict[str, object]], *, by_content: bool) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink, use_content_defined_chunking=by_content)
    return sink.getvalue()


def compare_tables(folder: Path, *, count: int, rng: random.Random) -> Iterator[Row]:
    rows = make_rows(count, rng)
    edited = [{**row, "text": f"{row['text']} edited"} if rng.random() < 0.001 else row for row in rows]
    changes = {
        "1% appended": rows + make_rows(count // 100, rng),
        "0.1% of rows edited": edited,
        "1% of rows deleted": [row for row in rows if rng.random() >= 0.01],
    }
    kinds: dict[str, Callable[[list[dict[str, object]]], bytes]] = {
        "JSONL": write_jsonl,
        "Parquet": lambda table: write_parquet(table, by_content=False),
        "Parquet, pages cut by content": lambda table: write_parquet(table, by_content=True),
    }
    for kind, write in kinds.items():
        for change, table in changes.items():
            store = Store(folder / f"{kind} {change}")
            store.add(write(rows))
            before = store.size()
            share = store.add(write(table)) / before
            yield Row(f"{kind}, {change}, new bytes", f"{share:.1%} of the first revision", ratio=share)


def run(*, tunes: int, rows: int, tiny: bool, seed: int) -> list[Row]:
    torch_rng = torch.Generator().manual_seed(seed)
    with tempfile.TemporaryDirectory() as folder:
        weights = load_weights(tiny=tiny, torch_rng=torch_rng)
        found = list(compare_models(Path(folder), weights, tunes=tunes, rng=torch_rng))
        return found + list(compare_tables(Path(folder), count=rows, rng=random.Random(seed)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tunes", type=int, default=10)
    parser.add_argument("--rows", type=int, default=100_000, help="of the tables")
    parser.add_argument("--tiny", action="store_true")
    asked = read_arguments(parser)
    machine = describe_machine()
    rows = run(tunes=asked.tunes, rows=asked.rows, tiny=asked.tiny, seed=asked.seed)
    publish("Stored bytes of revisions", rows, machine=machine, write=asked.write)


if __name__ == "__main__":
    main()
