"""Our scorer beside lm-evaluation-harness on the same rows: `python -m tests.benchmarks.evaluation [--rows N] [--write]`.

Seven tasks of real text, put to SmolLM2-135M (`--tiny`: a random model in its place): the questions of the starter suite
alone, after five and after ten solved ones, and by length; questions on paragraphs of Python's own documentation, four on each;
how such paragraphs go on; and the bits that each byte of them costs. Both have the same weights in fp32, each its own copy,
on the same threads; loading and reading the rows are not counted. The harness runs with batches of 1 (its default) and of 8.
Scores must agree row by row within 1e-4 nats for each token."""

import argparse
import contextlib
import io
import json
import math
import random
import statistics
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from tests.benchmarks.report import Row, describe_machine, interleave, median_ratio, publish, read_arguments, seconds_of
from training.engine.evals.packed_linear import pack_weights
from training.engine.evals.scoring import RowScore, format_question, score_task
from training.engine.evals.suite import Task
from training.engine.serving import Served, open_model

CORE = Path(__file__).parents[2] / "training/starters/suites/core"
SHOTS = (5, 10)
LEAST_ROWS = max(SHOTS) + 1  # of a task: so many are shown solved, and one is asked
ON_EACH = 4  # questions on one paragraph
BATCHES = (1, 8)
TARGET = 4.0  # times lm-eval, shared/reference/training.md
CLOSE = 1e-4


def choose_tasks(count: int, rng: random.Random) -> list[Task]:
    questions = [json.loads(line) for line in (CORE / "choices.jsonl").read_text().splitlines()][:count]
    paragraphs = read_paragraphs()
    rng.shuffle(paragraphs)
    return [
        choices("questions", questions),
        choices("questions, by length", questions, by_length=True),
        *(choices(f"questions after {shots} solved ones", put_after_solved(questions, shots)) for shots in SHOTS),
        choices(f"{ON_EACH} questions on each paragraph", list(ask_about(paragraphs, count, rng))),
        choices("how a paragraph goes on", list(continue_paragraphs(paragraphs, count, rng))),
        texts("bits per byte", paragraphs[-count:]),
    ]


def put_after_solved(questions: list[dict[str, Any]], shots: int) -> list[dict[str, Any]]:
    solved = "\n\n".join(
        f"{format_question(row['question'])} {row['choices'][row['answer']]}" for row in questions[:shots]
    )
    return [row | {"question": put_after(solved, row["question"])} for row in questions[shots:]]


def put_after(solved: str, question: str) -> str:
    """What `format_question` makes into the solved questions and this one."""
    begin, end = format_question("|").split("|")
    return f"{solved}\n\n{format_question(question)}".removeprefix(begin).removesuffix(end)


def read_paragraphs() -> list[str]:
    """Of the language reference that comes with Python, long enough to be cut in two."""
    from pydoc_data.topics import topics

    whole = "\n\n".join(topics.values())
    found = [" ".join(part.split()) for part in whole.split("\n\n")]
    return sorted({text for text in found if 400 <= len(text) <= 1600 and "**" not in text})


def ask_about(paragraphs: list[str], count: int, rng: random.Random) -> Iterator[dict[str, Any]]:
    """Which word of a paragraph comes after two others, among four of its words."""
    for text in paragraphs[: count // ON_EACH]:
        words = text.split()
        for at in rng.sample(range(2, len(words)), ON_EACH):
            others = rng.sample(sorted(set(words) - {words[at]}), 3)
            answer = rng.randrange(4)
            question = f"{text}\n\nWhich word comes after '{words[at - 2]} {words[at - 1]}' in this text?"
            yield {"question": question, "choices": [*others[:answer], words[at], *others[answer:]], "answer": answer}


def continue_paragraphs(paragraphs: list[str], count: int, rng: random.Random) -> Iterator[dict[str, Any]]:
    """The true end of a paragraph among the ends of three others."""
    halves = [
        (words[: len(words) // 2], words[len(words) // 2 :][:12]) for text in paragraphs if (words := text.split())
    ]
    for number, (start, end) in enumerate(halves[:count]):
        others = rng.sample([other for at, (_, other) in enumerate(halves) if at != number], 3)
        answer = rng.randrange(4)
        offered = [*others[:answer], end, *others[answer:]]
        yield {"question": " ".join(start), "choices": [" ".join(words) for words in offered], "answer": answer}


def choices(name: str, rows: list[dict[str, Any]], *, by_length: bool = False) -> Task:
    return Task(
        name=name, kind="multiple_choice", file="rows.jsonl", metric="accuracy", length_normalised=by_length, rows=tuple(rows)
    )  # fmt: skip


def texts(name: str, paragraphs: list[str]) -> Task:
    rows = tuple({"text": text} for text in paragraphs)
    return Task(name=name, kind="perplexity", file="rows.jsonl", metric="bits_per_byte", rows=rows)


def describe_for_harness(task: Task, folder: Path) -> dict[str, Any]:
    """The same task in the harness' words, its rows in a file."""
    path = folder / f"{task.name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in task.rows))
    common = {
        "task": task.name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(path)}, "cache_dir": str(folder / "cache")},
        "test_split": "test",
        "num_fewshot": 0,
    }
    if task.kind == "perplexity":
        rolling = {"output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "{{text}}"}
        return common | rolling | {"metric_list": [{"metric": "bits_per_byte"}]}
    begin, end = format_question("|").split("|")
    asked = {"output_type": "multiple_choice", "doc_to_text": begin + "{{question.strip()}}" + end}
    named = {"doc_to_choice": "{{choices}}", "doc_to_target": "answer"}
    return common | asked | named | {"metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}]}


@contextlib.contextmanager
def silence() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


class Harness:
    """lm-evaluation-harness with the weights that we use, and what it said last."""

    def __init__(self, served: Served, folder: Path) -> None:
        self.served, self.folder = served, folder
        self.read_tasks: dict[str, Any] = {}
        self.said: dict[str, Any] = {}

    def read(self, task: Task) -> None:
        from lm_eval.api.task import ConfigurableTask

        with silence():
            self.read_tasks[task.name] = ConfigurableTask(config=describe_for_harness(task, self.folder))

    def evaluate(self, task: Task, batch: int) -> None:
        from lm_eval import evaluate
        from lm_eval.models.huggingface import HFLM

        model = HFLM(
            pretrained=self.served.model, tokenizer=self.served.tokenizer, batch_size=batch, device="cpu",
            max_length=self.served.context_tokens,
        )  # fmt: skip
        with silence():
            known = {task.name: self.read_tasks[task.name]}
            self.said = evaluate(lm=model, task_dict=known, bootstrap_iters=0, log_samples=True, verbosity="ERROR")

    def score(self, task: Task) -> float:
        metric = "bits_per_byte" if task.kind == "perplexity" else "acc_norm" if task.length_normalised else "acc"
        return float(self.said["results"][task.name][f"{metric},none"])

    def values(self, task: Task) -> list[float]:
        """Natural logarithms of all that was scored, in the order of the rows."""
        samples = sorted(self.said["samples"][task.name], key=lambda sample: sample["doc_id"])
        if task.kind == "perplexity":
            return [float(value) for sample in samples for value in sample["resps"][0]]
        return [float(answer[0][0]) for sample in samples for answer in sample["resps"]]


def score_of(scores: list[RowScore]) -> float:
    return sum(row.score for row in scores) / sum(row.weight for row in scores)


def values_of(scores: list[RowScore]) -> list[float]:
    return [value for row in scores for value in row.log.get("logprobs", [-row.log.get("bits", 0) * math.log(2)])]


def run(*, rows: int, tiny: bool, rounds: int, rng: random.Random) -> list[Row]:
    with tempfile.TemporaryDirectory() as place:
        model = find_model(Path(place) / "model", tiny=tiny)
        served = open_model(model, "cpu")
        pack_weights(served.model)  # as training.engine.evals does it
        harness = Harness(open_model(model, "cpu"), Path(place))
        found = [line for task in choose_tasks(rows, rng) for line in compare(task, served, harness, rounds, rng)]
    return found


def find_model(folder: Path, *, tiny: bool) -> Path:
    if tiny:
        from tests.training.line import make_tiny_llama

        return make_tiny_llama(folder)
    from hub.site.bootstrap.assets import ensure_smollm2

    return ensure_smollm2()


def compare(task: Task, served: Served, harness: Harness, rounds: int, rng: random.Random) -> Iterator[Row]:
    print(f"{task.name}: {len(task.rows)} rows", flush=True)
    harness.read(task)
    ours: list[RowScore] = []
    theirs: dict[int, tuple[float, list[float]]] = {}

    def score_ours() -> None:
        ours[:] = score_task(task, served)

    def score_theirs(batch: int) -> None:
        harness.evaluate(task, batch)
        theirs[batch] = harness.score(task), harness.values(task)

    acts = {f"lm-eval, batches of {batch}": partial(seconds_of, partial(score_theirs, batch)) for batch in BATCHES}
    seconds = interleave({"ours": partial(seconds_of, score_ours)} | acts, rounds, rng)
    for batch in BATCHES:
        peer, (score, values) = f"lm-eval, batches of {batch}", theirs[batch]
        ratio = median_ratio(seconds[peer], seconds["ours"])
        took = f"{statistics.median(seconds['ours']):.3g} s"
        needed = f"{statistics.median(seconds[peer]):.3g} s, {peer}"
        yield Row(f"{task.name}, {len(task.rows)} rows", took, needed, ratio, f"at least {TARGET:.2f}", ratio >= TARGET)
        widest = max(abs(a - b) for a, b in zip(values_of(ours), values, strict=True))
        own = score_of(ours)
        yield Row(
            f"{task.name}, score", f"{own:.4f}", f"{score:.4f}, widest difference of a row {widest:.1g} nats",
            target=f"within {CLOSE:g}", is_met=abs(own - score) <= CLOSE,
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=40, help="at most, of each task")
    parser.add_argument("--threads", type=int, help="of torch; by default one for each core")
    parser.add_argument("--tiny", action="store_true", help="a random model of a few thousand weights")
    asked = read_arguments(parser)
    if asked.threads:
        torch.set_num_threads(asked.threads)
    machine, rng = describe_machine(), random.Random(asked.seed)
    if asked.rows < LEAST_ROWS:
        parser.error(f"--rows {asked.rows} leaves none to ask after ten solved ones; take {LEAST_ROWS} or more")
    found = run(rows=asked.rows, tiny=asked.tiny, rounds=asked.rounds, rng=rng)
    publish("Evaluation beside lm-evaluation-harness", found, machine=machine, write=asked.write)


if __name__ == "__main__":
    main()
