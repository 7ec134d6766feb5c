"""A worker process: started, watched, ended."""

import asyncio
import signal
import socket
from collections.abc import Callable

from service.ipc import messages
from service.ipc.connection import Channel
from service.ipc.slots import Slots
from service.supervisor.heartbeat import Heartbeat
from service.supervisor.launch import Launched


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
        heard: Callable[[messages.Message], None],
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
        self._channel.send(messages.Text({"slots": slots.shape}), (slots.fd,))
        self._loading = self._loop.call_later(load_seconds, self.end, "hang")
        self._heartbeat: Heartbeat | None = None

    def begin(self) -> None:
        """It has loaded its model: from now on it must answer pings."""
        self._loading.cancel()
        self._heartbeat = Heartbeat(lambda: self.send(messages.Ping()), lambda: self.end("hang"))

    def send(self, message: messages.Message) -> None:
        """Send one message."""
        self._channel.send(message)

    def attach(self, end: socket.socket) -> None:
        """Let the worker serve another frontend too, which has the other end of this one's socket pair."""
        self._channel.send(messages.Text({"attach": True}), (end.fileno(),))

    def end(self, reason: str) -> None:
        """Kill it, whatever it is doing; `gone(reason)` is called, once."""
        if self._ended:
            return
        self._ended = True
        self._loading.cancel()
        if self._heartbeat:
            self._heartbeat.stop()
        self._channel.close()
        self._process.send_signal(signal.SIGKILL)
        # A process is reaped when its memory is returned; that takes a while, which the loop need not wait for.
        self._loop.run_in_executor(None, self._process.wait)
        self._gone(reason)

    def _listen(self, message: messages.Message) -> None:
        if isinstance(message, messages.Pong):
            assert self._heartbeat
            self._heartbeat.answered()
            if self._stalled(message.longest):
                self.end("hang")
        else:
            self._heard(message)
