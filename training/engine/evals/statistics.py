"""What few measurements allow to say: intervals, and the verdict against the parent.

Scores between 0 and 1 get Wilson's interval. Differences are paired (the same questions, candidate minus parent) and
resampled with a fixed seed. Small samples are smoothed as Agresti and Min do it: without, thirty ties in a row would
claim to know the difference to be exactly 0."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

SEED = 20_260_101  # any; fixed, so that two people get the same interval
RESAMPLES = 10_000
CHUNK = 250  # resamples drawn at once: bounds memory at 100,000 rows
Z = 1.959963984540054  # 97.5% quantile of the normal distribution


@dataclass(frozen=True)
class Estimate:
    """A number with its 95% interval."""

    value: float
    low: float
    high: float


def wilson(mean: float, n: int) -> Estimate:
    """Interval of a share. For scores between 0 and 1 it is wider than needed, never narrower.

    Source: Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953"""
    centre = (mean + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * math.sqrt(mean * (1 - mean) / n + Z * Z / (4 * n * n))
    return Estimate(mean, min(mean, max(0.0, centre - half)), max(mean, min(1.0, centre + half)))


def share_difference(differences: Floats) -> tuple[Estimate, Floats]:
    """Mean of paired differences between -1 and 1, with its resampled means.

    Two pseudo-pairs (half a win, half a loss, one tie) join the sample for the interval, not for the value.
    Source: Agresti and Min 2005, https://doi.org/10.1002/sim.1781"""
    values, counts = np.unique(np.concatenate([differences, [1.0, 0.0, -1.0]]), return_counts=True)
    shares = counts.astype(float)
    for pseudo, share in ((1.0, 0.5), (0.0, 1.0), (-1.0, 0.5)):
        shares[values == pseudo] += share - 1
    n = len(differences) + 2
    means = _resample(shares / n, n, values) / n
    return _estimate(float(differences.mean()), means), means


def ratio(numerators: Floats, denominators: Floats) -> Estimate:
    """Sum over sum (bits over bytes), rows resampled together; at least two rows.

    The interval is stretched to what Student's t asks of so few rows: plain resampling of ten texts holds the truth
    in about 90 of 100 cases, not 95. Source: Hesterberg 2015, https://doi.org/10.1080/00031305.2015.1089789"""
    n = len(numerators)
    drawn = _resample(np.full(n, 1 / n), n, np.stack([numerators, denominators], axis=1))
    plain = _estimate(float(numerators.sum() / denominators.sum()), drawn[:, 0] / drawn[:, 1])
    stretch = math.sqrt(n / (n - 1)) * _student(n - 1) / Z
    value = plain.value
    return Estimate(value, value - stretch * (value - plain.low), value + stretch * (plain.high - value))


def mean_of_means(groups: list[Floats]) -> Estimate:
    """Mean over groups of each group's mean of scores between 0 and 1; each group is resampled for itself.

    Four pseudo-rows (two of 1, two of 0) join each group for the interval, as in Agresti and Coull."""
    drawn = []
    for index, group in enumerate(groups):
        values, counts = np.unique(np.concatenate([group, [1.0, 1.0, 0.0, 0.0]]), return_counts=True)
        n = len(group) + 4
        drawn.append(_resample(counts / n, n, values, seed=SEED + index) / n)
    return _estimate(float(np.mean([g.mean() for g in groups])), np.mean(drawn, axis=0))


def mean_difference(groups: list[Floats]) -> Estimate:
    """Mean over groups of each group's mean paired difference."""
    drawn = []
    for index, group in enumerate(groups):
        # Each group its own stream: the same draws in all would move them together.
        rng = np.random.default_rng(SEED + index)
        drawn.append(rng.permutation(share_difference(group)[1]))
    return _estimate(float(np.mean([g.mean() for g in groups])), np.mean(drawn, axis=0))


def judge(difference: Estimate, margin: float) -> str:
    """worse | not_worse | insufficient. Positive differences are improvements."""
    if difference.high < -margin:
        return "worse"
    return "not_worse" if difference.low > -margin else "insufficient"


def _student(freedom: int) -> float:
    """97.5% quantile of Student's t, to 3% from 3 degrees of freedom (Cornish-Fisher); wide enough below."""
    if freedom < 3:
        return (12.706, 4.303)[freedom - 1]
    return Z + (Z**3 + Z) / (4 * freedom) + (5 * Z**5 + 16 * Z**3 + 3 * Z) / (96 * freedom**2)


def _resample(shares: Floats, n: int, values: Floats, *, seed: int = SEED) -> Floats:
    """Sums of n draws of `values` with probabilities `shares`: [RESAMPLES] or [RESAMPLES, columns]."""
    rng = np.random.default_rng(seed)
    shares = shares / shares.sum()
    parts = [rng.multinomial(n, shares, size=min(CHUNK, RESAMPLES - i)) @ values for i in range(0, RESAMPLES, CHUNK)]
    return np.concatenate(parts)


def _estimate(value: float, draws: Floats) -> Estimate:
    low, high = np.quantile(draws, [0.025, 0.975])
    return Estimate(value, min(value, float(low)), max(value, float(high)))
