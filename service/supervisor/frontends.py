"""All frontends: the one in this process, and those in processes of their own, which share its port.

All are told the same in the same way. A process that ends or hangs is replaced.
"""

import asyncio
from collections.abc import Mapping
from typing import Protocol

from resserve.errors import ResServeError
from resserve.model_key import ModelKey
from service.frontend.frontend import Frontend
from service.ipc import connection
from service.ipc.messages import (
    Attached,
    Block,
    Blocked,
    CannotListen,
    Configure,
    Leave,
    Listen,
    Listening,
    Message,
    RejectedVersion,
    SetState,
)
from service.settings import Settings
from service.supervisor.frontend_process import FrontendLink, FrontendProcess
from service.supervisor.launch import launch_frontend
from service.supervisor.versions import Status
from service.telemetry.gathering import Gathered
from service.telemetry.logs import log
from service.telemetry.metrics import Metrics

_RESTART_SECONDS = 0.5
# Seconds that a scrape waits for a frontend; one that does not answer keeps the samples it gave last.
_GATHER_SECONDS = 2.0


class FrontendEvents(Protocol):
    """Takes note of what frontends say; each call names the version."""

    def on_attached(self, key: ModelKey) -> None:
        """Every frontend answers for the version with its worker."""

    def on_rejected(self, key: ModelKey, reason: str) -> None:
        """A frontend cannot serve the version."""


class Frontends:
    """The frontends of the service.

    Attributes:
        local: the frontend in this process.
        gathered: the samples of all.
    """

    def __init__(self, settings: Settings, versions: Mapping[ModelKey, Status], events: FrontendEvents) -> None:
        """Make the frontend of this process; it answers calls from `open` on.

        Args:
            settings: of the service.
            versions: that there are.
            events: is told of everything.
        """
        self.gathered = Gathered(Metrics(settings.latency_buckets))
        self._settings, self._versions, self._events = settings, versions, events
        self._loop = asyncio.get_running_loop()
        self._port: asyncio.Future[int] = self._loop.create_future()
        self._is_closed = False
        mine, theirs = connection.pair()
        self.local = Frontend(self._configure(1), theirs, on_hang_up=lambda: None)
        self._running = self._loop.create_task(self.local.run())
        self._links = [FrontendLink(1, mine, self._on_message, self._on_end)]
        self._introduce(self._links[0])

    async def open(self, port: int) -> int:
        """Answer calls on the port, 0 for a free one; the port.

        Raises:
            ResServeError: the port is taken.
        """
        self._links[0].send(Listen(port))
        port = await self._port
        for number in range(2, self._settings.frontends + 1):
            self._start(number)
        return port

    def add(self, key: ModelKey) -> None:
        """Tell all of one more version."""
        for link in self._links:
            link.send(self._versions[key].found.introduction)

    def attach(self, key: ModelKey) -> None:
        """Hand a version's worker to all."""
        if worker := self._versions[key].worker:
            for link in self._links:
                link.attach(key, *worker)

    def tell_state(self, key: ModelKey) -> None:
        """Tell all that a version is not ready."""
        status = self._versions[key]
        for link in self._links:
            link.pending.discard(key)
            link.send(SetState(key, status.state, status.reason))

    async def gather(self) -> None:
        """Bring `gathered` up to date."""
        links = list(self._links)
        for link, samples in zip(
            links, await asyncio.gather(*(link.gather(_GATHER_SECONDS) for link in links)), strict=True
        ):
            if samples is not None and link in self._links:
                self.gathered.update(link.number, samples)

    def leave(self) -> None:
        """Have all say that they are not ready, while calls are still answered."""
        for link in self._links:
            link.send(Leave())

    async def drain(self, seconds: float) -> None:
        """Let all finish what they accepted, within the time."""
        self._is_closed = True
        await asyncio.gather(*(link.drain(seconds) for link in self._links), self._running)

    def close(self) -> None:
        """End them all."""
        self._is_closed = True
        self._running.cancel()
        for link in self._links:
            link.close()
        self.local.close()

    def _configure(self, number: int) -> Configure:
        settings = self._settings
        return Configure(
            number=number,
            host=settings.host,
            shared=settings.frontends > 1,
            default_deadline=settings.default_deadline,
            wait_share=settings.wait_share,
            queue_order=settings.order,
            drain_seconds=settings.drain_seconds,
            max_connection_age=settings.max_connection_age,
            max_connection_age_grace=settings.max_connection_age_grace,
            latency_buckets=settings.latency_buckets,
            log_level=settings.log_level,
            log_format=settings.log_format,
        )

    def _start(self, number: int) -> None:
        if self._is_closed:
            return
        try:
            launched = launch_frontend()
        except OSError as error:
            log.error("frontend cannot start", frontend=number, error=str(error), again_in=_RESTART_SECONDS)
            self._loop.call_later(_RESTART_SECONDS, self._start, number)
            return
        link = FrontendProcess(self._configure(number), launched, self._on_message, self._on_end)
        self._links.append(link)
        self._introduce(link)
        link.send(Listen(self._port.result()))

    def _introduce(self, link: FrontendLink) -> None:
        """Tell a new frontend everything that the others know."""
        for key, status in self._versions.items():
            link.send(status.found.introduction)
            if status.blocked:
                link.send(Block(key, list(status.blocked)))
            if status.worker:
                link.attach(key, *status.worker)
            elif status.state != "LOADING" or status.reason:
                link.send(SetState(key, status.state, status.reason))

    def _on_message(self, link: FrontendLink, message: Message) -> None:
        match message:
            case Listening(port):
                if not self._port.done():
                    self._port.set_result(port)
            case CannotListen(reason):
                if self._port.done():
                    log.error("frontend cannot listen", frontend=link.number, reason=reason)
                else:
                    self._port.set_exception(ResServeError(reason))
            case Attached(key, worker):
                status = self._versions[key]
                if status.worker and status.worker[0].pid == worker:
                    self._acknowledge(link, key)
            case RejectedVersion(key, reason):
                self._events.on_rejected(key, reason)
                self._acknowledge(link, key)
            case Blocked(key, digest):
                self._versions[key].block(digest)
                for other in self._links:
                    if other is not link:
                        other.send(Block(key, [digest]))

    def _acknowledge(self, link: FrontendLink, key: ModelKey) -> None:
        link.pending.discard(key)
        if not any(key in each.pending for each in self._links):
            self._events.on_attached(key)

    def _on_end(self, link: FrontendLink) -> None:
        self.gathered.end(link.number)
        if self._is_closed:
            return
        self._links.remove(link)
        for key in list(link.pending):
            self._acknowledge(link, key)
        self._loop.call_later(_RESTART_SECONDS, self._start, link.number)
