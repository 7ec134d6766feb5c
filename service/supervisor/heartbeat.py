"""Pings another process, to notice when it hangs."""

import asyncio
from collections.abc import Callable

# A healthy process answers within milliseconds. Unanswered pings are counted instead of elapsed time, so that a paused
# machine is not mistaken for a hung process.
INTERVAL_SECONDS = 1.0
_HUNG_AFTER = 3


class Heartbeat:
    """Pings at an interval; a process that leaves three pings unanswered hangs."""

    def __init__(
        self,
        ping: Callable[[], None],
        on_hang: Callable[[], None],
        *,
        starts_within: int = _HUNG_AFTER,
        interval: float = INTERVAL_SECONDS,
    ) -> None:
        """Ping from now on, on the running event loop.

        Args:
            ping: sends one, which is answered by a call of `answer`.
            on_hang: called once, when too many are unanswered.
            starts_within: pings until the first must be answered.
            interval: seconds between two pings.
        """
        self._ping, self._on_hang, self._interval = ping, on_hang, interval
        self._loop = asyncio.get_running_loop()
        self._left = starts_within
        self._timer = self._loop.call_soon(self._tick)

    def answer(self) -> None:
        """Take note that the other process is well."""
        self._left = _HUNG_AFTER

    def close(self) -> None:
        """Ping no more."""
        self._timer.cancel()

    def _tick(self) -> None:
        if not self._left:
            self._on_hang()
            return
        self._left -= 1
        self._timer = self._loop.call_later(self._interval, self._tick)
        self._ping()
