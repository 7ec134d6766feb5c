"""Whether another process still answers."""

import asyncio
from collections.abc import Callable

# Who is well answers a ping within milliseconds. Pings are counted, not seconds: one who was stopped himself, with the
# whole machine perhaps, has sent none meanwhile.
_EVERY = 1.0
_HUNG_AFTER = 3


class Heartbeat:
    """Pings once a second, from now on; whoever leaves three unanswered hangs."""

    def __init__(self, ping: Callable[[], None], hung: Callable[[], None], *, starts_within: int = _HUNG_AFTER) -> None:
        """On the running event loop.

        Args:
            ping: sends one, which is answered by a call of `answered`.
            hung: called once, when too many are unanswered.
            starts_within: pings until the first must be answered.
        """
        self._ping, self._hung = ping, hung
        self._loop = asyncio.get_running_loop()
        self._left = starts_within
        self._tick()

    def answered(self) -> None:
        """The other process is well."""
        self._left = _HUNG_AFTER

    def stop(self) -> None:
        """Ping no more."""
        self._timer.cancel()

    def _tick(self) -> None:
        if not self._left:
            self._hung()
            return
        self._left -= 1
        self._timer = self._loop.call_later(_EVERY, self._tick)
        self._ping()
