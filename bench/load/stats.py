"""Figures with their uncertainty: quantiles, proportions, medians of runs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

QUANTILES = (0.5, 0.9, 0.95, 0.99)


@dataclass(frozen=True)
class Estimate:
    """A figure and the interval that holds the true one; `None` where the sample cannot bound it on that side."""

    value: float
    low: float | None
    high: float | None


def quantile(values: NDArray[np.float64], q: float, confidence: float = 0.95) -> Estimate:
    """The q-quantile with its distribution-free interval from order statistics.

    The number of samples below the true quantile is Binomial(n, q), whatever the distribution, so two ranks of the
    sorted sample bound it (David and Nagaraja, Order Statistics, section 7.1). Few samples give an open side.

    Args:
        values: [n] samples, n >= 1, in any order.
        q: between 0 and 1, both excluded.
        confidence: probability that the interval holds the true quantile, at least.

    Raises:
        ValueError: no samples; a quantile of nothing does not exist.
    """
    count = len(values)
    if count == 0:
        raise ValueError("a quantile needs at least one sample")
    ordered = np.sort(values)
    below = _binomial_cdf(count, q)
    tail = (1 - confidence) / 2
    # ordered[r - 1] exceeds the true quantile with probability P(fewer than r samples are below it) = below[r - 1].
    low_rank = int(np.searchsorted(below, tail, side="right"))
    high_rank = int(np.searchsorted(below, 1 - tail, side="left")) + 1
    return Estimate(
        value=float(ordered[min(count, max(1, math.ceil(q * count))) - 1]),
        low=float(ordered[low_rank - 1]) if low_rank >= 1 else None,
        high=float(ordered[high_rank - 1]) if high_rank <= count else None,
    )


def _binomial_cdf(count: int, p: float) -> NDArray[np.float64]:
    """P(Binomial(count, p) <= k) for k = 0 … count, summed from the exact terms."""
    k = np.arange(1, count + 1)
    steps = np.log((count - k + 1) / k) + math.log(p / (1 - p))
    log_terms = count * math.log1p(-p) + np.concatenate(([0.0], np.cumsum(steps)))
    return np.asarray(np.minimum(np.cumsum(np.exp(log_terms)), 1.0))


def proportion(successes: int, trials: int, z: float = 1.959964) -> Estimate:
    """A share with Wilson's score interval (Wilson 1927); 95 % by default.

    Raises:
        ValueError: no trials.
    """
    if trials == 0:
        raise ValueError("a share needs at least one trial")
    share = successes / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    # The bounds at 0 and 1 are exact; rounding must not push them past the share itself.
    return Estimate(share, max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)))


def median_of(runs: Sequence[float]) -> Estimate:
    """The median of repeated runs, with the lowest and the highest as its spread."""
    return Estimate(float(np.median(runs)), min(runs), max(runs))
