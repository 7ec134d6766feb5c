"""Options of `resserve paper`, and what follows from them."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from paper.images import DataSet, load
from paper.runs import Budget, Runs
from resserve.errors import ResServeError

UNITS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True, kw_only=True)
class Options:
    """What an experiment is asked for.

    Attributes:
        data: a folder of images by class; None for experiments that need none.
        epochs: of every training run.
        seeds: runs of each network, seeded 1, 2, …
        depths: layers of the networks; empty for the experiment's own choice.
        size: side of the images, in pixels.
        budget: wall-clock time that training may take.
        runs: the folder of the training runs.
        out: the folder of pages, pictures and results.
        say: tells people how far it is.
    """

    data: str | None = None
    epochs: int = 30
    seeds: int = 2
    depths: tuple[int, ...] = ()
    size: int = 32
    budget: Budget = field(default_factory=Budget)
    runs: Path = Path("runs/paper")
    out: Path = Path("docs/paper")
    say: Callable[[str], None] = lambda _: None

    @cached_property
    def images(self) -> DataSet:
        """The images, decoded once.

        Raises:
            ResServeError: no data were named, or they cannot be read.
        """
        if self.data is None:
            raise ResServeError("This experiment trains networks: name a folder of images by class with --data.")
        self.say(f"reading {self.data}")
        return load(self.data, self.size)

    @cached_property
    def training(self) -> Runs:
        """The training runs on these images."""
        return Runs(self.runs, self.images, self.say)


def seconds(text: str) -> float:
    """Seconds of a duration such as 90s, 45m, 2h or 1h30m.

    Raises:
        ResServeError: it is no duration.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([smh])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ResServeError(f"{text!r} is no duration; give one such as 90s, 45m, 2h or 1h30m.")
    return sum(float(number) * UNITS[unit] for number, unit in parts)
