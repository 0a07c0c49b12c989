"""Guard models that the rules of the hub name: laid out and asked about the answers of a sampling, and about replies whose label
is known, so that their errors stand beside what they say."""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AnonymousUser

from hub.common.errors import HubError, NotFound
from hub.common.jobs import JobRefused, Lease
from hub.repos.find import find_repo
from training.evaluating.judges import check_judge
from training.workers.materials import has_model, model_folder, uncleared_files
from training.workers.worker import relay, require_success, supervise

Guard = dict[str, Any]  # as policy.yaml writes it: repository, revision, head, template, labels, chat, threshold
Row = dict[str, Any]  # {"id", "prompt", "reply"}
Said = dict[str, dict[str, Any]]  # id -> {"harm", "kind"}


def digest_of(value: Any) -> str:
    return "sha256:" + hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def question_of(guard: Guard) -> Guard:
    """What its scores depend on, beside the replies; not the threshold, which is applied afterwards."""
    return {key: guard[key] for key in ("repository", "revision", "head", "template", "labels", "chat")}


def why_not_ask(guard: Guard) -> str:
    """Why a guard model cannot be asked, as a sentence; "" where it can. Everybody has to be able to ask it as well: it has to be
    public, with every file cleared."""
    name = f"{guard['repository']}@{guard['revision'][:12]}"
    try:
        repo = find_repo("model", guard["repository"], AnonymousUser())
        check_judge(repo, guard["revision"], AnonymousUser())
        if uncleared_files(repo, guard["revision"]):
            return f"The guard model {name} holds files that are not cleared; the rules need to name another revision."
        if not has_model(repo, guard["revision"]):
            return (
                f"The guard model {name} holds no weights that can be loaded; the rules need to name another revision."
            )
    except NotFound:
        return f"The guard model {name} is not on this hub, or not public; publish it, or name another in the rules."
    except HubError as problem:
        return f"The guard model {name} that the rules name cannot be asked: {problem.message}"
    return ""


def ask(lease: Lease, guard: Guard, rows: list[Row], benchmark: list[Row]) -> tuple[Said, Said]:
    """What it says of `rows`, and of the `benchmark`, which is kept by revision and question. Raises JobRefused where it cannot
    be asked, looked at anew each time: what was withdrawn judges nothing."""
    problem = why_not_ask(guard)
    if problem:
        raise JobRefused(problem)
    kept = Path(settings.DATA_DIR) / "runs" / "guards" / digest_of([question_of(guard), benchmark])[7:39]
    known = kept / "benchmark.jsonl"
    tag = [{**row, "id": f"b/{row['id']}"} for row in benchmark] if not known.exists() else []
    asked = [*tag, *({**row, "id": f"r/{row['id']}"} for row in rows)]
    found = run_guard(lease, guard, asked, kept / digest_of(rows)[7:23])
    if tag:
        lines = [{**found[row["id"]], "id": row["id"][2:]} for row in tag]
        draft = kept / f".benchmark.{os.getpid()}"
        draft.write_text("".join(json.dumps(line) + "\n" for line in lines))
        draft.replace(known)
    return {str(row["id"]): found[f"r/{row['id']}"] for row in rows}, read_said(known)


def run_guard(lease: Lease, guard: Guard, rows: list[Row], folder: Path) -> Said:
    repo = find_repo("model", guard["repository"], AnonymousUser())
    model = model_folder(repo, guard["revision"])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "guard.json").write_text(json.dumps(question_of(guard)))
    out = folder / "out"
    arguments = ["guard", "--model", str(model), "--guard", str(folder / "guard.json")]
    arguments += ["--rows", str(folder / "rows.jsonl"), "--out", str(out / "said.jsonl")]
    lease.report("progress", sentence=f"Asking the guard model {guard['repository']}")
    try:
        require_success(supervise(lease, arguments, own=out, reads=[folder, model], on_event=relay(lease)))
        return read_said(out / "said.jsonl")
    finally:  # the answers of a candidate that nobody has approved stay nowhere
        shutil.rmtree(folder, ignore_errors=True)


def read_said(path: Path) -> Said:
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
    return {row["id"]: {key: row[key] for key in ("harm", "kind")} for row in rows}


def judge_answers(
    lease: Lease, guards: list[Guard], answers: list[dict[str, Any]], benchmark: list[Row]
) -> list[dict[str, Any]]:
    """What each guard says: {"guard", "harm", "kinds", "parent_harm", "benchmark"}, by the id of a prompt or reply."""
    own = [{"id": f"c/{row['id']}", "prompt": row["prompt"], "reply": row["text"]} for row in answers]
    before = [
        {"id": f"p/{row['id']}", "prompt": row["prompt"], "reply": row["parent_text"]}
        for row in answers
        if row.get("parent_text") is not None
    ]
    told = []
    for guard in guards:
        found, known = ask(lease, guard, [*own, *before], benchmark)
        told.append(
            {
                "guard": guard,
                "harm": {row["id"][2:]: found[row["id"]]["harm"] for row in own},
                "kinds": {row["id"][2:]: found[row["id"]]["kind"] for row in own},
                "parent_harm": {row["id"][2:]: found[row["id"]]["harm"] for row in before},
                "benchmark": {id: said["harm"] for id, said in known.items()},
            }
        )
    return told
