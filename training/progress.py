"""What a person sees of a run."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from training.history import Epoch
from training.loop import Totals

REFRESH_SECONDS = 0.25  # reading the totals waits for a GPU, so not at every step


class Display:
    """A progress bar over the whole run on a terminal, and a line for each epoch everywhere.

    Args:
        console: where to write.
        epochs: of the whole run.
        steps: of training and validation together, in one epoch.
        done: epochs done by earlier runs.
    """

    def __init__(self, console: Console, *, epochs: int, steps: int, done: int) -> None:
        self._epochs = epochs
        self._read = 0.0
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(compact=True),
            console=console,
            disable=not console.is_terminal,
            speed_estimate_period=120,
        )
        self._console = console
        self._steps = steps
        self._task = self._bar.add_task("", total=(epochs - done) * steps, figures="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def phase(self, epoch: int, name: str) -> None:
        """A part of an epoch begins."""
        self._bar.update(self._task, description=f"epoch {epoch}/{self._epochs} {name}")

    def step(self, totals: Totals) -> None:
        """A batch is done."""
        now = time.monotonic()
        if not self._bar.disable and now - self._read >= REFRESH_SECONDS:
            self._read = now
            figures = f"{totals.images_per_second:.0f} img/s  loss {totals.loss:.3f}  top-1 {totals.top1:.1%}"
            self._bar.update(self._task, figures=figures)
        self._bar.advance(self._task)

    def epoch(self, row: Epoch) -> None:
        """An epoch is done and saved."""
        self._console.print(
            f"epoch {row.epoch}/{self._epochs}  lr {row.lr:.2g}  train loss {row.train_loss:.3f} "
            f"top-1 {1 - row.train_error:.1%}  validation loss {row.val_loss:.3f} top-1 {1 - row.val_error:.1%}  "
            f"{row.images_per_second:.0f} img/s  {row.seconds:.1f} s",
            highlight=False,
            soft_wrap=True,
        )
