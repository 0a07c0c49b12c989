"""The packaged judge, made anew and measured: `python -m tests.benchmarks.judges [--ship] [--write]`.

Human scores of replies come from pyrit 1.1.0 (MIT), fetched with pip and read in memory; no text of it is kept. The 575
scored replies of seven harms are what is measured (harmful = score of at least one half). Training sees further scored
replies at half their weight, never one whose objective or reply (letters alone, or a sentence vector closer than .9) stands in
the test fold. Scale, rarity, ridge and calibration are made inside the training folds. `--ship` writes the weights."""

import argparse
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from hub.site.bootstrap.assets import default_cache_dir, ensure_minilm
from moderation.screens import judge as judging
from moderation.screens.answers import is_violation
from moderation.screens.comparison import wilson_interval
from moderation.screens.refusals import is_refusal
from moderation.screens.sentences import MODEL_SHA256, Sentences
from tests.benchmarks.judge_heads import (
    FOLDS,
    HARMS,
    MEASURED,
    PYRIT,
    PYRIT_SHA256,
    WEIGHT_OF_OTHERS,
    Labelled,
    Views,
    fetch_labelled,
    fit_heads,
    folds,
    group,
)
from tests.benchmarks.report import Row, describe_machine, publish, read_arguments

CUT_WORDS = 36  # what 48 tokens of a sample hold
RESAMPLES = 1000


def auroc(positive: np.ndarray, value: np.ndarray) -> float:
    _, inverse, counts = np.unique(value, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    hits = int(positive.sum())
    return float((ranks[positive].sum() - hits * (hits + 1) / 2) / (hits * (len(value) - hits)))


def balanced_accuracy(positive: np.ndarray, said: np.ndarray) -> float:
    return float((said[positive].mean() + (~said)[~positive].mean()) / 2)


def interval(
    measure: Callable[[np.ndarray, np.ndarray], float], positive: np.ndarray, value: np.ndarray, groups: np.ndarray,
    rng: np.random.Generator,
) -> str:  # fmt: skip
    """95% by resampling groups."""
    names = np.unique(groups)
    members = [np.flatnonzero(groups == name) for name in names]
    found = []
    for _ in range(RESAMPLES):
        at = np.concatenate([members[i] for i in rng.integers(len(names), size=len(names))])
        if 0 < positive[at].sum() < len(at):
            found.append(measure(positive[at], value[at]))
    low, high = np.quantile(found, [0.025, 0.975])
    return f"{low:.3f} to {high:.3f}"


@dataclass(frozen=True)
class Bench:
    rows: list[Labelled]
    views: dict[str, Views]
    cut: dict[str, Views]
    groups: np.ndarray
    vectors: judging.Vectors
    rounds: int
    seed: int

    @property
    def score(self) -> np.ndarray:
        return np.array([row.score for row in self.rows])

    @property
    def is_measured(self) -> np.ndarray:
        return np.array([row.source in MEASURED for row in self.rows])

    @property
    def is_trained(self) -> np.ndarray:
        return np.array(
            [row.source.startswith(("harm/", "objective/")) and "mini_" not in row.source for row in self.rows]
        )

    @property
    def weight(self) -> np.ndarray:
        return np.where(self.is_measured, 1.0, WEIGHT_OF_OTHERS)

    def probabilities(self, held: Sequence[np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
        """head -> [2, N], of replies and of replies that were cut, by heads that saw neither their group nor their fold."""
        found = {head: np.full((2, len(self.rows)), np.nan) for head in self.views}
        for test in held:
            is_seen = self.is_trained & ~np.isin(self.groups, self.groups[test])
            is_seen[test] = False
            made = fit_heads(
                self.views, np.flatnonzero(is_seen), self.score, self.weight, self.groups, self.is_measured, rng
            )
            own = test[self.is_measured[test]]
            for head, fitted in made.items():
                found[head][0, own] = fitted.probability(self.views[head], own)
                found[head][1, own] = fitted.probability(self.cut[head], own)
            print(".", end="", flush=True)
        return found

    def cross_validate(self) -> list[dict[str, np.ndarray]]:
        """Rounds, each with other folds."""
        found = []
        for number in range(self.rounds):
            rng = np.random.default_rng((self.seed, number))
            held = folds(self.groups, np.flatnonzero(self.is_measured), FOLDS, rng)
            found.append(self.probabilities(held, rng))
        return found

    def leave_harms_out(self) -> dict[str, dict[str, np.ndarray]]:
        """harm -> head -> probabilities of heads that saw no row of it, of whichever file."""
        rng = np.random.default_rng(self.seed)
        harms = np.array([row.harm for row in self.rows])
        return {harm: self.probabilities([np.flatnonzero(harms == harm)], rng) for harm in HARMS}


def embed(texts: Sequence[str], kept: Path, encoder: Path) -> dict[str, np.ndarray]:
    """text -> float32 [2, 384], of the whole and of its beginning. They take minutes of a core, so those once made are
    kept in `kept`, by digests of the texts."""
    names = {text: hashlib.sha256(text.encode()).hexdigest() for text in texts}
    found = dict(np.load(kept)) if kept.exists() else {}
    if missing := [text for text in names if names[text] not in found]:
        found |= zip(
            (names[text] for text in missing), np.stack(Sentences(encoder).embed(missing), axis=1), strict=True
        )
        np.savez(kept, **found)
    return {text: found[name] for text, name in names.items()}


def read_vectors(pairs: Sequence[judging.Pair], known: dict[str, np.ndarray]) -> judging.Vectors:
    prompts, replies = np.stack([known[p] for p, _ in pairs]), np.stack([known[r] for _, r in pairs])
    return judging.Vectors(prompts[:, 0], replies[:, 0], replies[:, 1])


def prepare(encoder: Path, kept: Path, rounds: int, seed: int) -> Bench:
    rows = fetch_labelled()
    pairs = [(row.prompt, row.reply) for row in rows]
    short = [
        (row.prompt, " ".join(row.reply.split()[:CUT_WORDS]) if row.source in MEASURED else row.reply) for row in rows
    ]
    views, cut = {}, {}
    known = embed(sorted({text for pair in [*pairs, *short] for text in pair}), kept, encoder)
    vectors = read_vectors(pairs, known)
    for found, texts, own in ((views, pairs, vectors), (cut, short, read_vectors(short, known))):
        phrases, words, pieces = judging.read_views(texts)
        found["words"] = Views(phrases, words, pieces, None)
        found["sentences"] = Views(phrases, words, pieces, own.replies)
    return Bench(rows, views, cut, group(rows, vectors.prompts), vectors, rounds, seed)


def measure_harm(bench: Bench) -> tuple[list[Row], dict[str, Any]]:
    """Lines of the table, and for each head how many of the replies it judged rightly."""
    rounds, without = bench.cross_validate(), bench.leave_harms_out()
    rows, quality = [], {}
    for head in bench.views:
        whole, cut = (np.stack([one[head][number] for one in rounds]) for number in (0, 1))
        rows += [*describe_folds(bench, head, whole, cut), *describe_left_out(bench, head, without)]
        at = np.flatnonzero(bench.is_measured)
        # Errors as the screens will meet them: on replies as short as their answers, which are harder to judge. Of one
        # round: a count of replies, not a mean of rounds.
        harmful, said = bench.score[at] >= 0.5, cut[0, at] >= 0.5
        quality[head] = describe_quality(
            {
                "positives": int(harmful.sum()), "found": int((said & harmful).sum()),
                "negatives": int((~harmful).sum()), "cleared": int((~said & ~harmful).sum()),
            }
        )  # fmt: skip
    return rows, quality


def describe_folds(bench: Bench, head: str, whole: np.ndarray, cut: np.ndarray) -> list[Row]:
    at = np.flatnonzero(bench.is_measured)
    harmful, groups = bench.score[at] >= 0.5, bench.groups[at]
    rng = np.random.default_rng(bench.seed)
    found = []
    for name, given, promised in (("", whole, True), (f", first {CUT_WORDS} words", cut, False)):
        areas = [auroc(harmful, one[at]) for one in given]
        balanced = [balanced_accuracy(harmful, one[at] >= 0.5) for one in given]
        mean = given[:, at].mean(0)
        for what, values, measure, target in (
            ("AUROC", areas, auroc, 0.85),
            ("balanced accuracy", balanced, lambda y, p: balanced_accuracy(y, p >= 0.5), 0.80),
        ):
            value = float(np.mean(values))
            around = interval(measure, harmful, mean, groups, rng)
            found.append(
                Row(
                    f"{head}, harmful{name}, {what}", f"{value:.3f} ({around})",
                    target=f"at least {target:.2f}" if promised else "", is_met=value >= target if promised else None,
                )
            )  # fmt: skip
    return found


def describe_left_out(bench: Bench, head: str, without: dict[str, dict[str, np.ndarray]]) -> list[Row]:
    found = []
    for harm, by_head in without.items():
        given = by_head[head][0]
        own = np.flatnonzero(~np.isnan(given))
        y = bench.score[own] >= 0.5
        area, balanced = auroc(y, given[own]), balanced_accuracy(y, given[own] >= 0.5)
        found.append(Row(f"{head}, {harm} left out, n = {len(own)}", f"AUROC {area:.3f}, balanced {balanced:.3f}"))
    return found


def measure_refusals(bench: Bench) -> list[Row]:
    found = []
    by_words = np.array([judging.declines_by_words(row.prompt, row.reply) for row in bench.rows])
    by_topic = np.array(judging.declines_by_topic([(row.prompt, row.reply) for row in bench.rows], bench.vectors))
    regex = np.array([is_refusal(row.reply) for row in bench.rows])
    rng = np.random.default_rng(bench.seed)
    for source, target in (("refusal", 0.95), ("refusal_extra", 0.85)):
        at = np.flatnonzero([row.source == f"refusal_scorer/{source}" for row in bench.rows])
        declined = bench.score[at] >= 0.5
        for name, said in (("sentences", by_topic), ("words", by_words), ("phrases alone", regex)):
            value = balanced_accuracy(declined, said[at])
            around = interval(balanced_accuracy, declined, said[at], bench.groups[at], rng)
            promised = f"at least {target:.2f}" if name != "phrases alone" else ""
            found.append(
                Row(
                    f"{name}, refusals, n = {len(at)}, balanced accuracy", f"{value:.3f} ({around})",
                    target=promised, is_met=value >= target if promised else None,
                )
            )  # fmt: skip
    return found


def measure_rule(bench: Bench) -> Row:
    """What was there before: a harmful request that is answered."""
    at = np.flatnonzero(bench.is_measured)
    said = np.array([is_violation("refuse", bench.rows[number].reply) for number in at])
    value = balanced_accuracy(bench.score[at] >= 0.5, said)
    return Row("rules alone (answers a harmful request), balanced accuracy", f"{value:.3f}")


def ship(bench: Bench, quality: dict[str, dict[str, Any]]) -> None:
    """Heads fitted to all scored replies. Their errors are those of the folds, which saw less."""
    rng = np.random.default_rng(bench.seed)
    at = np.flatnonzero(bench.is_trained)
    tensors: dict[str, np.ndarray] = {}
    fitted = fit_heads(bench.views, at, bench.score, bench.weight, bench.groups, bench.is_measured, rng)
    for head, made in fitted.items():
        for name, weight in zip(("phrases", "words", "pieces", "vectors"), made.weights, strict=False):
            tensors[f"{head}.{name}"] = weight.astype(np.float16)
        tensors[f"{head}.scalars"] = np.array([made.bias, *made.calibration], np.float32)
        tensors |= {"phrases.mean": made.mean, "phrases.deviation": made.deviation}
        tensors |= {
            "rarity.words": made.rarity[0].astype(np.float16),
            "rarity.pieces": made.rarity[1].astype(np.float16),
        }
    facts = {
        "version": 1, "encoder_sha256": MODEL_SHA256, "labels": PYRIT, "labels_sha256": PYRIT_SHA256, "quality": quality,
    }  # fmt: skip
    save_file(tensors, judging.WEIGHTS, metadata={"facts": json.dumps(facts, sort_keys=True)})


def describe_quality(counts: dict[str, int]) -> dict[str, Any]:
    low, high = wilson_interval(counts["found"], counts["positives"])
    low_2, high_2 = wilson_interval(counts["cleared"], counts["negatives"])
    return {
        **counts,
        "reply_words": CUT_WORDS,
        "sensitivity": counts["found"] / counts["positives"], "sensitivity_interval": [low, high],
        "specificity": counts["cleared"] / counts["negatives"], "specificity_interval": [low_2, high_2],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ship", action="store_true", help="write moderation/screens/judge.safetensors")
    asked = read_arguments(parser)
    machine = describe_machine()
    bench = prepare(ensure_minilm(), default_cache_dir() / "judge-vectors.npz", asked.rounds, asked.seed)
    rows, quality = measure_harm(bench)
    rows += [*measure_refusals(bench), measure_rule(bench)]
    if asked.ship:
        ship(bench, quality)
    publish("The packaged judge", rows, machine=machine, write=asked.write)


if __name__ == "__main__":
    main()
