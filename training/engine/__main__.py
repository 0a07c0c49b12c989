"""`python -m training.engine COMMAND ...`: one program, one JSON event a line on stdout.

Exit codes: 0 done; 1 crash; 2 refused input (an `error` event says why); 143 stopped by SIGTERM after a checkpoint."""

from __future__ import annotations

import importlib
import os
import sys

# Command -> (module with `main(argv) -> int`, what it does). Modules load lazily: `fetch` needs no torch.
COMMANDS = {
    "run": ("run", "train what a recipe describes"),
    "launch": ("launch", "the same in several processes: launch --ranks N run ..."),
    "fetch": ("fetch", "download the inputs that a recipe.lock pins"),
    "evaluate": ("evals", "score a model, and its parent, on a suite"),
    "compare": ("compare", "tell how far two models are from each other, tensor by tensor"),
    "generate": ("generate", "answer a file of prompts"),
    "guard": ("guard_models", "ask a guard model how harmful replies are"),
    "likelihoods": ("likelihoods", "tell how likely a model finds texts"),
    "chat": ("chat", "answer messages from stdin, token by token"),
    "presets": ("presets", "list networks that can be made from nothing"),
    "import_gguf": ("import_gguf", "turn a GGUF file into a safetensors folder"),
}
NEEDS_NETWORK = {"fetch"}


def describe_commands() -> str:
    lines = [f"  {name:<10} {meaning}" for name, (_, meaning) in COMMANDS.items()]
    return "\n".join(["usage: python -m training.engine COMMAND ...", "", *lines])


def forbid_hub_access() -> None:
    """Before any import of transformers or huggingface_hub: they read these once, at import."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY"):
        os.environ[name] = "1"
    # Events go to stdout; bars that redraw themselves have no place in a log.
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


def main(argv: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if argv is None else argv
    if not arguments or arguments[0] in ("-h", "--help"):
        print(describe_commands())
        return 0 if arguments else 2
    command, rest = arguments[0], arguments[1:]
    if command not in COMMANDS:
        print(f"unknown command {command!r}\n{describe_commands()}", file=sys.stderr)
        return 2
    # Before torch: threads that wait by spinning made a busy 2-core machine answer 7 times slower than sleeping ones.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if command not in NEEDS_NETWORK:
        forbid_hub_access()
    from training.engine import events

    def work() -> int:
        code: int = importlib.import_module(f"training.engine.{COMMANDS[command][0]}").main(rest)
        return code

    return events.report_failures(work)


if __name__ == "__main__":
    sys.exit(main())
