"""What batches save when answers are screened: `python -m tests.benchmarks.screening_batches [--tiny] [--write]`.

Prompts of the shipped set are answered and judged as the screens do it (one draw each, 48 tokens, weights laid out for the
processor), one prompt after another and in batches, in CPU seconds of one process. The model is open before, and
both ways use the same one. Answers must be equal, greedy and drawn."""

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from moderation.screens import read_prompts
from moderation.screens.judge import packaged_judge
from tests.benchmarks.evaluation import find_model
from tests.benchmarks.report import Row, describe_machine, publish, read_arguments
from training.engine.drawing import MAX_NEW_TOKENS, SEED, TEMPERATURE
from training.engine.evals.packed_linear import pack_weights
from training.engine.generate import Prompt, Settings, answer_prompts
from training.engine.serving import Served, open_model

TARGET = 5.0


def screen_together(served: Served, prompts: list[Prompt], settings: Settings) -> list[str]:
    said = [one.text for one in answer_prompts(served, prompts, settings)]
    packaged_judge().judge([(prompt.text, text) for prompt, text in zip(prompts, said, strict=True)])
    return said


def screen_alone(served: Served, prompts: list[Prompt], settings: Settings) -> list[str]:
    return [screen_together(served, [prompt], settings)[0] for prompt in prompts]


def measure(act: Callable[[], list[str]]) -> tuple[list[str], float]:
    began = time.process_time()
    said = act()
    return said, time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="a random model of a few thousand weights")
    parser.add_argument("--prompts", type=int, default=564, help="of the shipped ones, spread over all of them")
    asked = read_arguments(parser)
    machine = describe_machine()
    rows = read_prompts()
    chosen = rows[:: max(len(rows) // asked.prompts, 1)][: asked.prompts]
    prompts = [Prompt(row["id"], row["prompt"]) for row in chosen]
    found = []
    model = "a tiny model" if asked.tiny else "SmolLM2-135M"
    with tempfile.TemporaryDirectory() as place:
        served = open_model(find_model(Path(place) / "model", tiny=asked.tiny), "cpu")
        pack_weights(served.model)
        screen_together(served, prompts[:2], Settings(2, TEMPERATURE, 1.0, SEED))  # what is made once is not counted
        for how, temperature in (("drawn", TEMPERATURE), ("greedy", 0.0)):
            settings = Settings(MAX_NEW_TOKENS, temperature, 1.0, SEED)
            together, batched_s = measure(partial(screen_together, served, prompts, settings))
            alone, alone_s = measure(partial(screen_alone, served, prompts, settings))
            equal = sum(a == b for a, b in zip(together, alone, strict=True))
            ratio = alone_s / batched_s
            what = f"{len(prompts)} prompts answered by {model} and judged, {how}; {equal} answers equal"
            mine, theirs = f"{batched_s:.3g} CPU s", f"{alone_s:.3g} CPU s, one at a time"
            found.append(Row(what, mine, theirs, ratio, f"at least {TARGET:.2f}", ratio >= TARGET))
            print(found[-1], flush=True)
    publish("Answers screened in batches", found, machine=machine, write=asked.write)


if __name__ == "__main__":
    main()
