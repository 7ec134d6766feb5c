"""A load in the terminal while it runs."""

import time
from collections import deque
from types import TracebackType

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.table import Table

from bench.load.generator import Progress

_WINDOW_SECONDS = 2.0


class LiveView:
    """Shows a load as it runs: give `update` to `drive`. Silent where stderr is not a terminal."""

    def __init__(self, title: str, seconds: float) -> None:
        self._title = title
        self._seconds = seconds
        self._begun = time.monotonic()
        self._recent: deque[tuple[float, Progress]] = deque()
        self._sent = self._answered = self._failed = 0
        self._live = Live(console=Console(stderr=True), transient=True, auto_refresh=False)

    def __enter__(self) -> "LiveView":
        if self._live.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._live.stop()

    def update(self, progress: Progress) -> None:
        """Take in what one generator process reports."""
        now = time.monotonic()
        self._sent += progress.sent
        self._answered += progress.answered
        self._failed += progress.failed
        self._recent.append((now, progress))
        while self._recent[0][0] < now - _WINDOW_SECONDS:
            self._recent.popleft()
        if self._live.is_started:
            self._live.update(self._table(now), refresh=True)

    def _table(self, now: float) -> Table:
        span = max(min(_WINDOW_SECONDS, now - self._begun), 0.25)
        latencies = np.concatenate([progress.latencies for _, progress in self._recent])
        table = Table(
            title=self._title, caption=f"last {_WINDOW_SECONDS:g} s; {now - self._begun:.0f} of {self._seconds:g} s"
        )
        for heading in ("sent", "answered", "failed", "answers/s", "p50", "p99"):
            table.add_column(heading, justify="right")
        p50, p99 = (milliseconds(float(np.quantile(latencies, q))) if len(latencies) else "–" for q in (0.5, 0.99))
        table.add_row(
            f"{self._sent:,}", f"{self._answered:,}", f"{self._failed:,}", f"{len(latencies) / span:.1f}", p50, p99
        )
        return table


def milliseconds(seconds: float) -> str:
    """A duration with three significant digits."""
    return f"{seconds * 1e3:,.3g} ms" if seconds < 0.9995 else f"{seconds:,.3g} s"
