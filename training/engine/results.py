"""The end of a run: weights that were read back and compared, and result.json with the evidence."""

from __future__ import annotations

import gc
import json
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from training.engine import hf_format, lora
from training.engine.batches import Batches
from training.engine.checkpoint import Progress
from training.engine.config import FINAL_LOSS_STEPS, Plan, list_resolved
from training.engine.corpus import Corpus
from training.engine.digests import digest_folder, list_files
from training.engine.events import emit
from training.engine.provenance import write_run_lock
from training.engine.tokenizer import copy_tokenizer, load_tokenizer

if TYPE_CHECKING:
    from training.engine.run import Job


def save_result_model(job: Job, plan: Plan, model: Any, batches: Batches, tokenizer: Any) -> float:
    """Write OUT/model and compare what transformers reads from it with what was trained. Returns the difference."""
    emit("stage", stage="save", state="started")
    draft = job.out / f".model.{os.getpid()}"
    for stale in job.out.glob(".model.*"):
        shutil.rmtree(stale, ignore_errors=True)
    draft.mkdir()
    model.eval()
    dtype = hf_format.read_shape(job.base.folder, job.base.name).dtype if job.base else torch.float32
    probe = batches.build(batches.rows_of(0)[:1], job.device)
    if plan.method == "lora" and plan.output == "adapter":
        assert job.base is not None
        lora.save_adapter(model, draft, base=job.base.id, revision=job.base.commit or job.base.revision)
        reloaded = reload_adapter(job, draft, model)
    else:
        plain = lora.merge_adapter(model.float()) if plan.method == "lora" else model
        model = hf_format.save_model(plain, draft, dtype=dtype)
        # The tokenizer must be there before the folder is read as a model; weights alone are checked here.
        reloaded = hf_format.load_model(draft, "the trained model", dtype=dtype, device=job.device)
    put_tokenizer(job, draft, tokenizer)
    difference = hf_format.measure_difference(model, reloaded.eval(), probe)
    del reloaded
    gc.collect()
    hf_format.replace_folder(draft, job.out / "model")
    emit("stage", stage="save", state="done", max_logit_difference=difference)
    return difference


def reload_adapter(job: Job, folder: Path, model: Any) -> Any:
    from peft import PeftModel

    assert job.base is not None
    dtype = next(p for p in model.parameters() if not p.requires_grad).dtype
    plain = hf_format.load_model(job.base.folder, job.base.name, dtype=dtype, device=job.device)
    return PeftModel.from_pretrained(plain, str(folder))


def put_tokenizer(job: Job, folder: Path, tokenizer: Any) -> None:
    if job.base is None:
        tokenizer.save_pretrained(folder)
        return
    copy_tokenizer(job.base.folder, folder)
    # A base without a template was trained on ours: an answer needs the same one.
    own = load_tokenizer(folder, name="the trained model")
    if own.chat_template == tokenizer.chat_template and not has_template(folder):
        (folder / "chat_template.jinja").write_text(tokenizer.chat_template, encoding="utf-8")


def has_template(folder: Path) -> bool:
    if (folder / "chat_template.jinja").is_file():
        return True
    settings = folder / "tokenizer_config.json"
    return settings.is_file() and "chat_template" in json.loads(settings.read_text(encoding="utf-8"))


def mean_loss(progress: Progress) -> float:
    last = progress.losses[-FINAL_LOSS_STEPS:]
    return sum(last) / len(last)


def write_result(job: Job, plan: Plan, corpus: Corpus, progress: Progress, evidence: dict[str, Any]) -> dict[str, Any]:
    """`evidence` is what was measured at the end."""
    folder = job.out / "model"
    result = {
        "model_digest": digest_folder(folder),
        "corpus_digest": corpus.digest,
        "steps": progress.step,
        "tokens": progress.tokens,
        "seconds": round(progress.seconds, 2),
        "final_loss": mean_loss(progress),
        "first_loss": progress.first_loss,
        "held_out_loss_start": progress.held_out_start,
        **evidence,
        "files": list_files(folder),
        "contamination": corpus.manifest.get("contamination", []),
        "finished": round(time.time(), 3),
    }
    resolved = list_resolved(plan, job.recipe)
    write_run_lock(job, resolved, {"seed": plan.seed, "init_seed": plan.init_seed}, corpus.digest)
    draft = job.out / ".result.json"
    draft.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    draft.replace(job.out / "result.json")
    return result
