"""A child process of the service: it lives and dies with its parent, and leaves signals to it."""

import ctypes
import signal

_PR_SET_PDEATHSIG = 1  # prctl(2)


def die_with_parent() -> None:
    """Leave SIGINT, SIGTERM and SIGHUP, which reach the whole group, to the parent; its death is ours too."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
