"""Low-rank adapters through peft. Source: https://arxiv.org/abs/2106.09685

Two variants: rsLoRA divides the scale by the root of the rank (https://arxiv.org/abs/2312.03732), DoRA learns the length of
each output's weights apart from their direction (https://arxiv.org/abs/2402.09353)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from training.engine.architectures import get_family
from training.engine.config import Plan
from training.engine.devices import seed_everything
from training.engine.digests import format_canonical
from training.engine.tokenizer import read_json_object


def add_adapter(model: Any, plan: Plan) -> Any:
    """The model with an adapter on every linear layer but the head, or on those that its architecture allows; only the
    adapter learns. Drawn from plan.seed."""
    from peft import LoraConfig, get_peft_model

    seed_everything(plan.seed)
    adapted = get_family(model.config).adapted
    settings = LoraConfig(
        r=plan.rank,
        lora_alpha=plan.alpha,  # type: ignore[arg-type]  # peft says int and takes any number
        lora_dropout=0.0,
        use_rslora=plan.variant == "rslora",
        use_dora=plan.variant == "dora",
        bias="none",
        target_modules=adapted if isinstance(adapted, str) else list(adapted),
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, settings)


def merge_adapter(model: Any) -> Any:
    """The plain model with the adapter added to its weights."""
    return model.merge_and_unload(safe_merge=False)


def save_adapter(model: Any, folder: Path, *, base: str, revision: str) -> None:
    """peft's layout. The configuration names the base as the community knows it, not where it lay on this disk."""
    model.save_pretrained(folder, safe_serialization=True)
    path = folder / "adapter_config.json"
    settings = read_json_object(path, "the adapter")
    settings["base_model_name_or_path"] = base
    settings["revision"] = revision
    # peft lists the modules in the order of a set, which changes with every process.
    settings["target_modules"] = sorted(settings["target_modules"])
    path.write_bytes(format_canonical(settings) + b"\n")
    (folder / "README.md").unlink(missing_ok=True)  # peft's template card; the hub writes the real one
