"""Sentence vectors of prompts and replies by MiniLM: `python -m moderation.screens.sentences FOLDER < pairs.json`.

The only part of the judge that needs torch, so it runs in a process of its own. Weights are safetensors whose digest is known;
another model would give other vectors, and the shipped head would judge by chance."""

import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from moderation.screens.judge import Pair, Vectors
from moderation.screens.judge_features import Floats

MODEL_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
WINDOW_TOKENS = 126  # and two special ones: what the model was trained on
MOST_WINDOWS = 8
BATCH = 32


class Sentences:
    """all-MiniLM-L6-v2 (Apache-2.0). Raises ValueError when the folder holds another model."""

    def __init__(self, folder: Path) -> None:
        with (folder / "model.safetensors").open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != MODEL_SHA256:
                raise ValueError(f"{folder} holds another model than the one that the judge was made with.")
        from transformers import AutoModel, AutoTokenizer

        self.tokenizer: Any = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        self.model: Any = AutoModel.from_pretrained(str(folder), local_files_only=True, use_safetensors=True).eval()

    def vectors(self, pairs: Sequence[Pair]) -> Vectors:
        texts = list(dict.fromkeys(text for pair in pairs for text in pair))
        whole, first = self.embed(texts)
        at = {text: number for number, text in enumerate(texts)}
        prompts, replies = [at[prompt] for prompt, _ in pairs], [at[reply] for _, reply in pairs]
        return Vectors(whole[prompts], whole[replies], first[replies])

    def embed(self, texts: Sequence[str]) -> tuple[Floats, Floats]:
        """(whole, first), float32 [N, 384] of length 1: the mean of a text's windows, and its first one alone."""
        windows = [self._cut(text) for text in texts]
        ends = np.cumsum([len(own) for own in windows])
        found = self._embed_windows([window for own in windows for window in own])
        parts = np.split(found, ends[:-1])
        return _normalize(np.stack([part.mean(axis=0) for part in parts])), np.stack([part[0] for part in parts])

    def _cut(self, text: str) -> list[list[int]]:
        tokens = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        starts = range(0, max(len(tokens), 1), WINDOW_TOKENS)
        return [tokens[start : start + WINDOW_TOKENS] for start in starts][:MOST_WINDOWS]

    def _embed_windows(self, windows: list[list[int]]) -> Floats:
        """Windows of like length share a batch."""
        import torch

        found = np.zeros((len(windows), self.model.config.hidden_size), np.float32)
        order = sorted(range(len(windows)), key=lambda number: -len(windows[number]))
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            width = len(windows[batch[0]]) + 2
            ids, mask = torch.zeros(2, len(batch), width, dtype=torch.long)
            for row, number in enumerate(batch):
                tokens = [self.tokenizer.cls_token_id, *windows[number], self.tokenizer.sep_token_id]
                ids[row, : len(tokens)], mask[row, : len(tokens)] = torch.tensor(tokens), 1
            with torch.inference_mode():
                hidden = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
            mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
            found[batch] = mean.numpy()
        return _normalize(found)


def _normalize(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9), np.float32)


def main() -> None:
    # Half a surrogate pair, which JSON may hold and the tokenizer refuses, must not cost the others their vectors.
    pairs = [tuple(str(text).encode("utf-8", "replace").decode() for text in pair) for pair in json.load(sys.stdin)]
    vectors = Sentences(Path(sys.argv[1])).vectors([(prompt, reply) for prompt, reply in pairs])
    found = np.stack([vectors.prompts, vectors.replies, vectors.beginnings])
    sys.stdout.buffer.write(found.astype(np.float32).tobytes())


if __name__ == "__main__":
    main()
