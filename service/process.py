"""A worker process and the channel to it: started, listened to, watched, ended."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from service import link
from service.slots import Slots

# A worker that is well answers a ping within milliseconds, whatever its lanes do.
_PING_EVERY = 1.0
_HUNG_AFTER = 3.0


class WorkerProcess:
    """One running worker.

    Attributes:
        ready: it has loaded its model; from then on it must answer pings.
    """

    def __init__(
        self,
        order: dict[str, Any],
        slots: Slots,
        heard: Callable[[link.Message], None],
        gone: Callable[[str], None],
        stalled: Callable[[], bool],
    ) -> None:
        """Start it on the running event loop.

        Args:
            order: the fields of `service.worker.loading.Order`.
            slots: shared with it.
            heard: called with each message.
            gone: called once, when it has ended or was ended, with the reason.
            stalled: asked every second whether its lanes hang.
        """
        self._heard = heard
        self._gone = gone
        self._stalled = stalled
        self._loop = asyncio.get_running_loop()
        self.ready = False
        self._channel, theirs = link.pair()
        command = [sys.executable, "-m", "service.worker", str(theirs.fileno()), str(slots.fd)]
        self._process = subprocess.Popen(
            command, pass_fds=(theirs.fileno(), slots.fd), stdin=subprocess.DEVNULL, env=_environment()
        )
        theirs.close()
        height, width = slots.images.shape[1:3]
        shape = {"count": slots.count, "height": height, "width": width, "classes": slots.logits.shape[1]}
        self.send(link.Text({**order, "slots": shape}))
        self._loop.add_reader(self._channel, self._listen)
        self._last_pong = time.monotonic()
        self._timer = self._loop.call_later(_PING_EVERY, self._tick)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def send(self, message: link.Message) -> None:
        """Send one message; to a worker that has just died it is lost, and `gone` follows."""
        try:
            self._channel.send(link.encode(message))
        except OSError:
            self._loop.call_soon(self.end, "crash")

    def end(self, reason: str) -> None:
        """Kill it, whatever it is doing; `gone(reason)` is called if it had not gone before."""
        if self._channel.fileno() < 0:
            return
        self._timer.cancel()
        self._loop.remove_reader(self._channel)
        self._channel.close()
        self._process.send_signal(signal.SIGKILL)
        # A process is reaped as soon as its memory is returned; that may take a while and must not stop the loop.
        self._loop.run_in_executor(None, self._process.wait)
        self._gone(reason)

    def _listen(self) -> None:
        while self._channel.fileno() >= 0:
            try:
                packet = self._channel.recv(link.MAX_PACKET)
            except BlockingIOError:
                return
            except OSError:
                packet = b""
            if not packet:
                self.end("crash")
                return
            message = link.decode(packet)
            if isinstance(message, link.Ping):
                self._last_pong = time.monotonic()
            else:
                self._heard(message)

    def _tick(self) -> None:
        now = time.monotonic()
        if not self.ready:
            self._last_pong = now
        elif now - self._last_pong > _HUNG_AFTER or self._stalled():
            self.end("hang")
            return
        else:
            self.send(link.Ping(0))
        if self._channel.fileno() >= 0:
            self._timer = self._loop.call_later(_PING_EVERY, self._tick)


def _environment() -> dict[str, str]:
    # The lanes are the parallelism: a BLAS or OpenMP pool beside them would only take their cores.
    return {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
