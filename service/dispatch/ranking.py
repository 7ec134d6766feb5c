"""From logits to the most probable classes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Rank:
    """One class: its index in the logits, and its probability."""

    index: int
    probability: float


def rank(logits: NDArray[np.float32], count: int) -> list[Rank]:
    """Find the `count` most probable classes by softmax, best first; of equals, the lower index first.

    Args:
        logits: float32 [classes].
        count: classes; at most as many as there are.
    """
    count = min(count, len(logits))
    # The largest logit is taken off first, so that none overflows.
    weights = np.exp(logits.astype(np.float64) - logits.max())
    probabilities = weights / weights.sum()
    best = np.argpartition(-logits, count - 1)[:count].tolist()
    return [Rank(index, float(probabilities[index])) for index in sorted(best, key=lambda i: (-logits[i], i))]
