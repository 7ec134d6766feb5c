"""One frontend, as the supervisor sees it: its control connection, and its process where it has one of its own."""

import asyncio
import contextlib
import socket
from collections.abc import Callable

from resserve.model_key import ModelKey
from service.ipc import connection
from service.ipc.connection import Connection
from service.ipc.messages import (
    AttachWorker,
    Configure,
    Drain,
    Drained,
    GiveSamples,
    Loaded,
    Message,
    Ping,
    Pong,
    Samples,
)
from service.supervisor.heartbeat import Heartbeat
from service.supervisor.launch import Launched
from service.supervisor.worker_process import WorkerProcess
from service.telemetry.gathering import Value
from service.telemetry.logs import log

# Pings until a frontend that was just started must answer.
_STARTS_WITHIN = 60


class FrontendLink:
    """The control connection to a frontend, in whichever process it is.

    Attributes:
        number: of the frontend, from 1.
        pending: versions whose worker it was handed and has not acknowledged.
    """

    def __init__(
        self,
        number: int,
        sock: socket.socket,
        on_message: Callable[["FrontendLink", Message], None],
        on_end: Callable[["FrontendLink"], None],
    ) -> None:
        """Listen on the running event loop.

        Args:
            number: of the frontend, from 1.
            sock: this end of the connection.
            on_message: called with each message but samples and answers to pings.
            on_end: called once, when the frontend has ended.
        """
        self.number = number
        self.pending: set[ModelKey] = set()
        self._on_message, self._on_end = on_message, on_end
        self._drained = asyncio.Event()
        self._samples: list[Value] = []
        self._gathering: list[asyncio.Future[list[Value]]] = []
        self._connection = Connection(sock, self._receive, self._end)

    def send(self, message: Message) -> None:
        """Send a message; a frontend that has just ended misses nothing."""
        self._connection.send(message)

    def attach(self, key: ModelKey, worker: WorkerProcess, loaded: Loaded) -> None:
        """Give the frontend a connection of its own to a worker."""
        mine, theirs = connection.pair()
        with mine, theirs:
            worker.add_frontend(theirs)
            self.pending.add(key)
            self._connection.send(AttachWorker(key, worker.pid, loaded), mine.fileno())

    async def gather(self, seconds: float) -> list[Value] | None:
        """Ask for its samples; None where it does not answer in time."""
        answer: asyncio.Future[list[Value]] = asyncio.get_running_loop().create_future()
        if not self._gathering:
            self.send(GiveSamples())
        self._gathering.append(answer)
        try:
            async with asyncio.timeout(seconds):
                return await answer
        except TimeoutError:
            self._gathering.remove(answer)
            return None

    async def drain(self, seconds: float) -> None:
        """Let it finish what it accepted, within the time."""
        self.send(Drain())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._drained.wait()

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def _receive(self, message: Message, fd: int | None) -> None:
        match message:
            case Samples(values, last):
                self._samples.extend(values)
                if last:
                    self._give(self._samples)
                    self._samples = []
            case Drained():
                self._drained.set()
            case _:
                self._on_message(self, message)

    def _give(self, samples: list[Value]) -> None:
        for answer in self._gathering:
            answer.set_result(samples)
        self._gathering.clear()

    def _end(self) -> None:
        self._drained.set()
        self._on_end(self)


class FrontendProcess(FrontendLink):
    """A frontend in a process of its own, killed when it hangs."""

    def __init__(
        self,
        settings: Configure,
        launched: Launched,
        on_message: Callable[[FrontendLink, Message], None],
        on_end: Callable[[FrontendLink], None],
    ) -> None:
        """Take over the process; the arguments are those of FrontendLink, and its settings."""
        self._process = launched.process
        self._loop = asyncio.get_running_loop()
        super().__init__(settings.number, launched.sock, on_message, on_end)
        self.send(settings)
        # The first ping is answered before it takes a call.
        self._heartbeat = Heartbeat(lambda: self.send(Ping()), self._process.kill, starts_within=_STARTS_WITHIN)

    async def drain(self, seconds: float) -> None:
        """Let it finish what it accepted, and end it."""
        await super().drain(seconds)
        self.close()

    def close(self) -> None:
        """End the process."""
        super().close()
        self._heartbeat.close()
        self._process.kill()
        # It is reaped when its memory is returned, which the loop need not wait for.
        self._loop.run_in_executor(None, self._process.wait)

    def _receive(self, message: Message, fd: int | None) -> None:
        if isinstance(message, Pong):
            self._heartbeat.answer()
        else:
            super()._receive(message, fd)

    def _end(self) -> None:
        log.error("frontend ended", frontend=self.number, frontend_pid=self._process.pid)
        self.close()
        super()._end()
