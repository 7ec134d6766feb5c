"""The threads that decode images, for all models of a frontend."""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable

Work = Callable[[], None]
Finish = Callable[[Exception | None], None]


def attempt(work: Work) -> Exception | None:
    """Do it here and now; what was raised, or None."""
    try:
        work()
    except Exception as raised:
        return raised
    return None


class Decoders:
    """As many threads as cores.

    A `ThreadPoolExecutor` does the same at three times the cost of handing over, which is most of what a small image
    costs: its futures have locks and callbacks that one event loop does not need.

    Attributes:
        count: of threads.
    """

    def __init__(self, count: int) -> None:
        """Start them; they end with the process."""
        self.count = count
        self._loop = asyncio.get_running_loop()
        self._work: queue.SimpleQueue[tuple[Work, Finish]] = queue.SimpleQueue()
        for number in range(count):
            threading.Thread(target=self._run, name=f"decode-{number}", daemon=True).start()

    def submit(self, work: Work, finish: Finish) -> None:
        """Do `work` in a thread, then `finish` on the event loop, with what was raised or None."""
        self._work.put((work, finish))

    def _run(self) -> None:
        while True:
            work, finish = self._work.get()
            error = attempt(work)
            with contextlib.suppress(RuntimeError):  # the loop has been closed: nobody waits any more
                self._loop.call_soon_threadsafe(finish, error)
            del work, finish, error  # an idle thread must not keep the last image
