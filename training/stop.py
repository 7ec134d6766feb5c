"""Ends a run on a signal as Ctrl-C does: workers end, curves are drawn, the last whole epoch stays."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StoppedError(KeyboardInterrupt):
    """A signal asked for the end.

    Attributes:
        exit_code: 128 and the signal's number, as shells have it.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Raise StoppedError on SIGTERM and SIGHUP; what is ignored already, as under nohup(1), stays ignored.

    The first process of a container has no default action for them: without this it would go on until it is killed.
    """

    def stop(number: int, _: FrameType | None) -> None:
        raise StoppedError(number)

    numbers = [each for each in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(each) is not signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
