"""One running worker: watched, and killed when it hangs."""

import asyncio
import signal
import socket
import time
from collections.abc import Callable

from service.ipc.connection import Connection
from service.ipc.messages import AddFrontend, FirstAnswer, Loaded, Message, Ping, Pong, Refused
from service.supervisor.heartbeat import Heartbeat
from service.supervisor.launch import Launched


class WorkerProcess:
    """One running worker.

    Attributes:
        pid: process id.
        started: when it was, on the monotonic clock.
    """

    def __init__(
        self,
        launched: Launched,
        *,
        load_seconds: float,
        on_message: Callable[[Loaded | Refused | FirstAnswer], None],
        on_exit: Callable[[str], None],
    ) -> None:
        """Listen to it on the running event loop.

        Args:
            launched: was told what to load.
            load_seconds: a worker that takes longer to load hangs.
            on_message: called with each message but answers to pings.
            on_exit: called once, when it has ended or was killed, with the reason.
        """
        self._on_message, self._on_exit = on_message, on_exit
        self._loop = asyncio.get_running_loop()
        self._process = launched.process
        self.pid, self.started = self._process.pid, time.monotonic()
        self._connection = Connection(launched.sock, self._receive, lambda: self.kill("crash"))
        self._loading = self._loop.call_later(load_seconds, self.kill, "hang")
        self._heartbeat: Heartbeat | None = None
        self._has_ended = False

    def add_frontend(self, sock: socket.socket) -> None:
        """Let the worker serve a frontend, which has the other end of this socket pair."""
        self._connection.send(AddFrontend(), sock.fileno())

    def kill(self, reason: str) -> None:
        """End it, whatever it is doing; `on_exit(reason)` is called, once."""
        if self._has_ended:
            return
        self._has_ended = True
        self._loading.cancel()
        if self._heartbeat:
            self._heartbeat.close()
        self._connection.close()
        self._process.send_signal(signal.SIGKILL)
        # A process is reaped when its memory is returned; that takes a while, which the loop need not wait for.
        self._loop.run_in_executor(None, self._process.wait)
        self._on_exit(reason)

    def _receive(self, message: Message, fd: int | None) -> None:
        match message:
            case Pong(stalled):
                if self._heartbeat:
                    self._heartbeat.answer()
                if stalled:
                    self.kill("hang")
            case Loaded():
                self._loading.cancel()
                self._heartbeat = Heartbeat(lambda: self._connection.send(Ping()), lambda: self.kill("hang"))
                self._on_message(message)
            case Refused() | FirstAnswer():
                self._on_message(message)
