"""What a run made, as files of a commit: weights and tokenizer, recipe.lock, the card, the evaluation results."""

import re
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from hub.common.markdown import split_card
from hub.community.eval_results import MAX_TASKS
from hub.repos.blobs import index_blob, store
from hub.repos.largeness import is_large
from hub.repos.places import pair
from hub.storage.git import AddFile, AddPointer
from training.engine.lock import format_lock, parse_lock
from training.engine.recipe import parse_recipe
from training.evaluating.leaderboards import DIGITS, list_parts
from training.models import Checkpoint, Evaluation, Run

CARD = "README.md"
BEGIN, END = "<!-- made by the hub: begin -->", "<!-- made by the hub: end -->"
PIECE_BYTES = 1024 * 1024


def complete_lock(inputs_lock: str, engine_lock: str) -> str:
    """recipe.lock of what was made: the pins of the hub, which name the suites too, and what the engine made of them."""
    made = parse_lock(engine_lock)
    lock = replace(
        parse_lock(inputs_lock),
        resolved=made.resolved,
        seeds=made.seeds,
        versions=made.versions,
        device=made.device,
        corpus_digest=made.corpus_digest,
        outputs=made.outputs,
    )
    return format_lock(lock)


def keep_model(run: Run, folder: Path, *, step: int, digest: str) -> Checkpoint:
    """Move the engine's model folder into the byte store; small text stays in the row's `files` as well."""
    files: dict[str, dict[str, Any]] = {}
    for path in sorted(item for item in folder.rglob("*") if item.is_file() and not item.is_symlink()):
        with path.open("rb") as file:
            stored = store().add(iter(lambda: file.read(PIECE_BYTES), b""))
        index_blob(stored)
        files[path.relative_to(folder).as_posix()] = {"sha256": stored.sha256, "size": stored.size}
    checkpoint, _ = Checkpoint.objects.update_or_create(
        run=run, step=step, defaults={"digest": digest, "files": files, "is_final": True}
    )
    return checkpoint


def output_operations(run: Run) -> list[Any]:
    """AddFile and AddPointer for all that the run made."""
    final = run.checkpoints.filter(is_final=True).last()
    operations: list[Any] = []
    for path, pin in (final.files if final else {}).items():
        if path == CARD:
            continue
        sample = b"".join(store().read(pin["sha256"], 0, min(pin["size"], 4096)))
        if is_large(path, pin["size"], sample):
            operations.append(AddPointer(path, pin["sha256"], pin["size"]))
        else:
            operations.append(AddFile(path, b"".join(store().read(pin["sha256"]))))
    operations.append(AddFile("recipe.lock", run.result["lock"].encode()))
    operations.append(AddFile(CARD, write_card(run).encode()))
    for evaluation in evaluations_of(run):
        name = evaluation.suite_name.replace("/", "--")
        operations.append(AddFile(f".eval_results/{name}.yaml", write_evaluation(evaluation).encode()))
    return operations


def evaluations_of(run: Run) -> list[Evaluation]:
    rows = Evaluation.objects.filter(
        pull_request=run.pull_request, model_digest=run.model_digest, finished_at__isnull=False
    )
    newest: dict[str, Evaluation] = {row.suite_name: row for row in rows.order_by("pk")}
    return list(newest.values())


def to_yaml(value: Any) -> str:
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.width = 4096
    stream = StringIO()
    yaml.dump(value, stream)
    return stream.getvalue()


def write_card(run: Run) -> str:
    """The card with what people wrote kept, and a part between two marks that the hub keeps current."""
    members = pair(run.repo).members
    entry = members.entry(run.input_commit, CARD)
    text = members.read_blob(entry.oid).decode("utf-8", errors="replace") if entry and not entry.lfs else ""
    card = split_card(text)
    lock = parse_lock(run.result["lock"])
    models = [repository.id for repository in lock.repositories if repository.type == "model"]
    learnt = {row.repo.repo.lower() for row in parse_recipe(lock.recipe).contributions}  # suites are pinned too
    pinned = [repository.id for repository in lock.repositories if repository.type == "dataset"]
    datasets = [name for name in pinned if name.lower() in learnt]
    metadata = {
        **card.metadata,
        "library_name": "transformers",
        "pipeline_tag": card.metadata.get("pipeline_tag", "text-generation"),
    }
    if models:
        metadata["base_model"] = models[0] if len(models) == 1 else models
    if datasets:
        metadata["datasets"] = datasets
    body = card.body.strip() or f"# {run.repo.name}\n"
    before, _, rest = body.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"---\n{to_yaml(metadata)}---\n{before.rstrip()}\n\n{BEGIN}\n{describe_run(run, lock)}\n\n{END}\n{after.lstrip()}"


def describe_run(run: Run, lock: Any) -> str:
    lines = ["## How it was made", ""]
    number = run.pull_request.discussion.number if run.pull_request else None
    lines.append(f"Pull request #{number} by {run.proposed_by}, run {run.pk}." if number else f"Run {run.pk}.")
    lines += ["", "| input | commit | brought by |", "|---|---|---|"]
    for repository in lock.repositories:
        people = sorted(
            {p["contributor"] for rows in repository.contributors.values() for p in rows if p["contributor"]}
        )
        lines.append(f"| {repository.id} | `{repository.commit[:12]}` | {', '.join(people) or '-'} |")
    lines += [
        "",
        f"Weights: `{run.model_digest}`. Every pin is in `recipe.lock`; run it again in a clone of the hub's project with",
        "",
    ]
    lines += ["    .venv/bin/python -m training.engine fetch PATH/OF/recipe.lock --into inputs"]
    lines += ["    .venv/bin/python -m training.engine run inputs/recipe.yaml --inputs inputs --out out"]
    rows = [row for evaluation in evaluations_of(run) for row in evaluation_rows(evaluation)]
    if rows:
        lines += [
            "",
            "## Evaluation",
            "",
            "| suite | slice | score | 95% interval | parent | verdict |",
            "|---|---|---|---|---|---|",
        ]
        lines += rows
    return "\n".join(lines)


def evaluation_rows(evaluation: Evaluation) -> list[str]:
    rows = []
    for part in evaluation.results.get("slices", []):
        parent = part.get("parent_score")
        parent_text = "-" if parent is None else f"{parent:.3f}"
        rows.append(
            f"| {evaluation.suite_name} | {plain(part['slice'])} | {part['score']:.3f} | "
            f"{part['low']:.3f} to {part['high']:.3f} | {parent_text} | {str(part.get('verdict', '-')).replace('_', ' ')} |"
        )
    return rows


def plain(text: str) -> str:
    """A name out of a suite, which its authors write, as Markdown shows it: no link, no emphasis, no cell of its own."""
    return re.sub(r"([\\`*_\[\]<>|~!#&])", r"\\\1", " ".join(text.split()))


def write_evaluation(evaluation: Evaluation) -> str:
    """One suite's results in the format of the stock client (huggingface_hub.EvalResultEntry): an entry for the whole and for
    each slice where more is better; leaderboards are made of them."""
    dataset = {"id": evaluation.suite_name, "revision": evaluation.suite_commit}
    date = evaluation.finished_at.date().isoformat() if evaluation.finished_at else None
    return to_yaml(
        [
            {
                "dataset": {**dataset, "task_id": task[:100]},
                "value": round(part["score"], DIGITS),
                **({"date": date} if date else {}),
                "notes": describe_part(evaluation, part),
            }
            for task, part in list_parts(evaluation.results)[:MAX_TASKS]
        ]
    )


def describe_part(evaluation: Evaluation, part: dict[str, Any]) -> str:
    """Metric, interval and parent in a line, and the weights that were measured."""
    said = f"{part['metric']}, {part['n']} items, 95% interval {part['low']:.3f} to {part['high']:.3f}"
    if part.get("parent_score") is not None:
        said += f", parent {part['parent_score']:.3f} ({str(part.get('verdict')).replace('_', ' ')})"
    return f"{said}; weights {evaluation.model_digest[:19]}"
