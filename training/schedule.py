"""Learning rates as a pure function of the step, so that a resumed run needs no memory of where it was."""

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The learning rate of every optimizer step.

    Attributes:
        kind: "step" divides by ten at half and at three quarters of all steps, as He et al. 2015 do after 32k and
            48k of 64k iterations (section 4.2); "cosine" falls to zero along half a cosine (Loshchilov and Hutter
            2016, equation 5).
        peak: the highest rate, > 0.
        warmup: steps that rise to the peak along a line, >= 0 (Goyal et al. 2017, section 2.2).
        total: steps of the whole run, > 0.
    """

    kind: Literal["step", "cosine"]
    peak: float
    warmup: int
    total: int

    def lr_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        if step < self.warmup:
            return self.peak * (step + 1) / self.warmup
        if self.kind == "step":
            return self.peak * 0.1 ** sum(step >= self.total * part for part in (0.5, 0.75))
        done = (step - self.warmup) / max(1, self.total - self.warmup)
        return self.peak * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
