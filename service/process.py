"""A worker process: started, watched, ended."""

import asyncio
import signal
import socket
from collections.abc import Callable

from service import link
from service.channel import Channel
from service.launch import Launched
from service.slots import Slots

# A worker that is well answers a ping within milliseconds, whatever its lanes do. Pings are counted, not seconds: a
# frontend that was stopped itself, with the whole machine perhaps, has sent none meanwhile.
_PING_EVERY = 1.0
_HUNG_AFTER = 3


class WorkerProcess:
    """One running worker.

    Attributes:
        pid: process id.
    """

    def __init__(
        self,
        launched: Launched,
        slots: Slots,
        *,
        heard: Callable[[link.Message], None],
        gone: Callable[[str], None],
        stalled: Callable[[float], bool],
        load_seconds: float,
    ) -> None:
        """Listen to it on the running event loop.

        Args:
            launched: has its order.
            slots: of this frontend.
            heard: called with each message.
            gone: called once, when it has ended or was ended, with the reason.
            stalled: told every second how long its longest run has taken; says whether that is too long.
            load_seconds: until `begin`; a worker that takes longer hangs.
        """
        self._heard, self._gone, self._stalled = heard, gone, stalled
        self._loop = asyncio.get_running_loop()
        self._process = launched.process
        self.pid = self._process.pid
        self._ended = False
        self._channel = Channel(launched.channel, self._listen, lambda: self.end("crash"))
        self._channel.send(link.Text({"slots": slots.shape}), (slots.fd,))
        self._unanswered = 0
        self._timer = self._loop.call_later(load_seconds, self.end, "hang")

    def begin(self) -> None:
        """It has loaded its model: from now on it must answer pings."""
        self._timer.cancel()
        self._timer = self._loop.call_later(_PING_EVERY, self._tick)

    def send(self, message: link.Message) -> None:
        """Send one message."""
        self._channel.send(message)

    def attach(self, end: socket.socket) -> None:
        """Let the worker serve another frontend too, which has the other end of this one's socket pair."""
        self._channel.send(link.Text({"attach": True}), (end.fileno(),))

    def end(self, reason: str) -> None:
        """Kill it, whatever it is doing; `gone(reason)` is called, once."""
        if self._ended:
            return
        self._ended = True
        self._timer.cancel()
        self._channel.close()
        self._process.send_signal(signal.SIGKILL)
        # A process is reaped when its memory is returned; that takes a while, which the loop need not wait for.
        self._loop.run_in_executor(None, self._process.wait)
        self._gone(reason)

    def _listen(self, message: link.Message) -> None:
        if isinstance(message, link.Pong):
            self._unanswered = 0
            if self._stalled(message.longest):
                self.end("hang")
        else:
            self._heard(message)

    def _tick(self) -> None:
        if self._unanswered == _HUNG_AFTER:
            self.end("hang")
            return
        self._unanswered += 1
        self.send(link.Ping())
        self._timer = self._loop.call_later(_PING_EVERY, self._tick)
