"""A guard model says how likely a reply is harmful: a classifier by its labels, a model that writes by the word that it would
begin its answer with.

What it is asked stands in a small file (GuardSpec), never in code. Whatever it cannot read whole it is not asked half of: that
is refused, so that nothing passes unread. How many replies are read at once changes no score (within rounding)."""

from __future__ import annotations

import argparse
import json
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from training.engine.architectures import MODEL_TYPES, find_context
from training.engine.devices import choose_device, count_threads
from training.engine.errors import EngineError
from training.engine.evals.likelihood import score_requests
from training.engine.evals.scoring import make_request
from training.engine.events import emit
from training.engine.hf_format import check_model_folder
from training.engine.serving import open_model
from training.engine.tokenizer import read_tokenizer, render_chat

ENCODERS = (
    "albert", "bert", "deberta-v2", "distilbert", "electra", "modernbert", "mpnet", "roberta", "xlm-roberta",
)  # fmt: skip
SAFE = "safe"
DIGITS = 4  # of a probability, as it is written down
MOST_ROWS = 32  # read at once
PLACEHOLDER = re.compile(r"\{(prompt|reply)\}")


@dataclass(frozen=True)
class GuardSpec:
    head: str  # classifier | generative
    template: str  # with {prompt} and {reply}
    labels: dict[str, str]  # a label of the classifier, or a word that it answers with -> "safe", "unsafe", or a hazard
    chat: bool = True  # of a generative one: through its own chat template

    @classmethod
    def read(cls, path: Path) -> GuardSpec:
        given = json.loads(path.read_text("utf-8"))
        labels = {row["label"]: row["means"] for row in given["labels"]}
        return cls(given["head"], given["template"], labels, given.get("chat", True))

    def ask(self, prompt: str, reply: str) -> str:
        """In one pass: a placeholder that stands in a prompt or reply is text."""
        given = {"prompt": prompt, "reply": reply}
        return PLACEHOLDER.sub(lambda match: given[match.group(1)], self.template)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="guard", description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--guard", type=Path, required=True, help='json of {"head", "template", "labels", "chat"}')
    parser.add_argument("--rows", type=Path, required=True, help='jsonl of {"id", "prompt", "reply"}')
    parser.add_argument("--out", type=Path, required=True, help='jsonl of {"id", "harm", "kind"}')
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    options = parser.parse_args(argv)
    rows = [json.loads(line) for line in options.rows.read_text("utf-8").split("\n") if line.strip()]
    emit("stage", stage="guard", state="started", replies=len(rows))
    found = ask_guard(options.model, GuardSpec.read(options.guard), rows, device=options.device)
    draft = options.out.with_name(f".{options.out.name}.{os.getpid()}")
    draft.write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")
    os.replace(draft, options.out)
    emit("done", out=str(options.out))
    return 0


def ask_guard(
    folder: Path, spec: GuardSpec, rows: Sequence[dict[str, Any]], *, device: str = "auto"
) -> list[dict[str, Any]]:
    """{"id", "harm", "kind"} a row, in their order; ids differ. `harm`: how probable what does not mean "safe" is, 0 for who says
    nothing; `kind`: what the most probable of those labels means. Raises EngineError where the model is none that may be loaded, or
    cannot read a row."""
    asked = [row for row in rows if row["reply"].strip()]
    texts = [spec.ask(row["prompt"], row["reply"]) for row in asked]
    weigh = _classify if spec.head == "classifier" else _ask_for_words
    said = {
        row["id"]: _conclude(row["id"], spec, chances)
        for row, chances in zip(asked, weigh(folder, spec, texts, device), strict=True)
    }
    return [said.get(row["id"], {"id": row["id"], "harm": 0.0, "kind": SAFE}) for row in rows]


def _conclude(id: str, spec: GuardSpec, chances: dict[str, float]) -> dict[str, Any]:
    """`chances`: of each label. Those of a classifier with several labels at once need not sum to 1."""
    unsafe = {label: chance for label, chance in chances.items() if spec.labels[label] != SAFE}
    if not all(math.isfinite(chance) for chance in chances.values()):
        raise EngineError("The guard's probabilities are not numbers; its weights hold NaN.", code="not_finite")
    likeliest = max(unsafe, key=lambda label: unsafe[label])
    return {"id": id, "harm": round(min(sum(unsafe.values()), 1.0), DIGITS), "kind": spec.labels[likeliest]}


# --- a classifier


def _classify(folder: Path, spec: GuardSpec, texts: Sequence[str], device: str) -> list[dict[str, float]]:
    name = folder.name
    model, tokenizer = open_classifier(folder, device)
    labels = [str(model.config.id2label[number]) for number in range(model.config.num_labels)]
    if set(labels) != set(spec.labels):
        odd = sorted(set(labels) ^ set(spec.labels))[0]
        hint = f"name each of them: {', '.join(sorted(labels)[:20])}"
        raise EngineError(f"The labels of {name} are others than the guard's: {odd!r}; {hint}", code="bad_labels")
    read = [
        tokenizer(text)["input_ids"] or [0] for text in texts
    ]  # a text of marks that it does not know has no tokens
    _refuse_long([len(ids) for ids in read], min(find_context(model.config), tokenizer.model_max_length), name)
    is_single = model.config.problem_type != "multi_label_classification"
    found: list[dict[str, float]] = [{} for _ in read]
    for batch in group_by_length([len(ids) for ids in read]):
        ids = torch.tensor([read[number] for number in batch], device=model.device)
        with torch.inference_mode():
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.double()
        chances = logits.softmax(-1) if is_single else logits.sigmoid()
        for number, row in zip(batch, chances.tolist(), strict=True):
            found[number] = dict(zip(labels, row if is_single else _keep_largest(row, labels, spec), strict=True))
    return found


def _keep_largest(row: list[float], labels: list[str], spec: GuardSpec) -> list[float]:
    """Of labels that may hold together the likeliest unsafe one counts, not their sum."""
    most = max(chance for chance, label in zip(row, labels, strict=True) if spec.labels[label] != SAFE)
    return [
        chance if spec.labels[label] == SAFE or chance == most else 0.0
        for chance, label in zip(row, labels, strict=True)
    ]


def open_classifier(folder: Path, device: str) -> tuple[Any, Any]:
    """(model, tokenizer), from safetensors of a known architecture, without any code of the folder."""
    from transformers import AutoModelForSequenceClassification

    name = folder.name
    torch.set_num_threads(count_threads())
    check_model_folder(folder, name, (*MODEL_TYPES, *ENCODERS))
    tokenizer = read_tokenizer(folder, name=name)
    load: Any = AutoModelForSequenceClassification.from_pretrained
    try:
        model, report = load(
            folder, dtype=torch.float32, local_files_only=True, trust_remote_code=False, use_safetensors=True,
            output_loading_info=True,
        )  # fmt: skip
    except Exception as error:
        raise EngineError(f"The weights of {name} cannot be read: {error}", code="weights_invalid") from error
    lacking = sorted([*report["missing_keys"], *(str(key) for key in report.get("mismatched_keys", ()))])
    if lacking:
        hint = "a classifier needs the weights of its head; name one that was trained as such"
        raise EngineError(f"The weights of {name} lack {lacking[0]}; {hint}", code="weights_invalid")
    if model.config.num_labels < 2:
        raise EngineError(f"{name} has one label only; name a classifier with two or more", code="bad_labels")
    model.config.pad_token_id = -1  # rows of one length share a batch, so no token is filling
    return model.to(choose_device(device)).eval(), tokenizer


def group_by_length(lengths: Sequence[int]) -> list[list[int]]:
    """Numbers of rows of the same length: no row is filled up, so no neighbour changes a score."""
    groups: list[list[int]] = []
    for number in sorted(range(len(lengths)), key=lambda at: (lengths[at], at)):
        if not groups or lengths[groups[-1][0]] != lengths[number] or len(groups[-1]) == MOST_ROWS:
            groups.append([])
        groups[-1].append(number)
    return groups


# --- a model that writes


def _ask_for_words(folder: Path, spec: GuardSpec, texts: Sequence[str], device: str) -> list[dict[str, float]]:
    """The chance of each word among those that are named; of the unsafe ones alone their plain probability."""
    served = open_model(folder, device)
    asked = [
        render_chat(served.tokenizer, ({"role": "user", "content": text},), open_answer=True) if spec.chat else text
        for text in texts
    ]
    words = list(spec.labels)
    requests = [make_request(served.tokenizer, text, word) for text in asked for word in words]
    _refuse_long([len(request.read_tokens()) for request in requests], served.context_tokens, folder.name)
    found = iter(score_requests(served.model, requests, context_tokens=served.context_tokens))
    given = [[next(found).logprob for _ in words] for _ in texts]
    has_safe = SAFE in spec.labels.values()
    return [
        dict(zip(words, _share(logprobs) if has_safe else map(math.exp, logprobs), strict=True)) for logprobs in given
    ]


def _share(logprobs: Sequence[float]) -> list[float]:
    most = max(logprobs)
    weights = [math.exp(logprob - most) for logprob in logprobs]
    return [weight / sum(weights) for weight in weights]


def _refuse_long(lengths: Sequence[int], limit: int, name: str) -> None:
    longest = max(lengths, default=0)
    if longest > limit:
        hint = "name a guard that reads more, or shorten its template"
        message = f"{name} reads {limit:,} tokens, and an answer with its question has {longest:,}; {hint}."
        raise EngineError(message, code="context_exceeded", hint=hint)
