"""The threads that decode images, for all models of a frontend."""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable

Work = Callable[[], Exception | None]
Finish = Callable[[Exception | None], None]


class Decoders:
    """Threads that do what the event loop hands over.

    A `ThreadPoolExecutor` does the same at three times the cost of handing over, which is most of what a small image
    costs: its futures have locks and callbacks that one event loop does not need.

    Attributes:
        count: of threads.
    """

    def __init__(self, count: int) -> None:
        """Start them."""
        self.count = count
        self._loop = asyncio.get_running_loop()
        self._work: queue.SimpleQueue[tuple[Work, Finish] | None] = queue.SimpleQueue()
        for number in range(count):
            threading.Thread(target=self._run, name=f"decode-{number}", daemon=True).start()

    def submit(self, work: Work, finish: Finish) -> None:
        """Do `work` in a thread, then `finish` on the event loop with the exception that `work` gives, or None."""
        self._work.put((work, finish))

    def close(self) -> None:
        """End the threads after the work that was submitted."""
        for _ in range(self.count):
            self._work.put(None)

    def _run(self) -> None:
        while self._run_next():
            pass  # in a call of its own, so that an idle thread does not keep the last image

    def _run_next(self) -> bool:
        if (taken := self._work.get()) is None:
            return False
        work, finish = taken
        error = work()
        with contextlib.suppress(RuntimeError):  # the loop has been closed: nobody waits any more
            self._loop.call_soon_threadsafe(finish, error)
        return True
