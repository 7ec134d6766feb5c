"""A frontend: takes calls, decodes images, and has workers classify them.

The supervisor says over the control connection which versions there are, and hands over connections to their workers.
"""

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

from resserve.cores import usable_cores
from resserve.errors import ResServeError
from resserve.files import MANIFEST, check_digest
from resserve.manifest import read_manifest
from resserve.model_key import ModelKey
from service.dispatch.admission import Policy
from service.dispatch.inference import Inference
from service.dispatch.registry import Registry
from service.dispatch.version import BrokenVersion, ServedVersion, Version
from service.images.threads import Decoders
from service.ipc.connection import Connection
from service.ipc.messages import (
    AddBrokenVersion,
    AddVersion,
    Attached,
    AttachWorker,
    Block,
    Blocked,
    CannotListen,
    Configure,
    Drain,
    Drained,
    GiveSamples,
    Leave,
    Listen,
    Listening,
    Message,
    Ping,
    Pong,
    RejectedVersion,
    RemoveVersion,
    Samples,
    SetState,
    shorten,
)
from service.rpc.server import SERVICE, GrpcServer
from service.telemetry.gathering import values
from service.telemetry.metrics import Metrics

# Samples in one message.
_SAMPLES = 200


class Frontend:
    """One process's part in taking calls; the supervisor talks to all in the same way, to its own too.

    Attributes:
        inference: answers requests.
        metrics: of this frontend.
    """

    def __init__(self, settings: Configure, control: socket.socket, on_hang_up: Callable[[], None]) -> None:
        """Listen to the supervisor; calls are answered in `run`.

        Args:
            settings: of this frontend.
            control: connected to the supervisor.
            on_hang_up: called when the supervisor has ended.
        """
        self.metrics = Metrics(settings.latency_buckets)
        self.inference = Inference(Registry(), self.metrics, settings.default_deadline)
        self._settings = settings
        self._policy = Policy(settings.queue_order, settings.wait_share)
        self._decoders = Decoders(usable_cores())
        self._is_leaving = False
        self._port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._changed, self._draining = asyncio.Event(), asyncio.Event()
        self._control = Connection(control, self._on_message, on_hang_up)

    @property
    def is_ready(self) -> bool:
        """Every version was READY or FAILED once, one is READY, and calls are taken."""
        versions = list(self.inference.registry)
        settled = all(version.is_settled for version in versions)
        ready = any(version.description.state == "READY" for version in versions)
        return settled and ready and not self._is_leaving

    async def run(self) -> None:
        """Answer calls on the port that the supervisor names, until it says drain."""
        settings = self._settings
        port = await self._port
        try:
            server = GrpcServer(self.inference, self.metrics, settings, port)
        except ResServeError as error:
            self._control.send(CannotListen(shorten(str(error))))
            return
        await server.start()
        self._control.send(Listening(server.port))
        telling = asyncio.create_task(self._tell_health(server))
        await self._draining.wait()
        telling.cancel()
        await server.stop(settings.drain_seconds)
        self._give_samples()
        self._control.send(Drained())

    def close(self) -> None:
        """Give back memory, threads and descriptors."""
        self._control.close()
        self.inference.registry.close()
        self._decoders.close()

    async def _tell_health(self, server: GrpcServer) -> None:
        while True:
            await server.set_health(SERVICE, self.is_ready)
            ready: dict[str, bool] = {}
            for version in self.inference.registry:
                name = version.key.name
                is_ready = version.description.state == "READY" and not self._is_leaving
                ready[name] = ready.get(name, False) or is_ready
            for name, serving in ready.items():
                await server.set_health(name, serving)
            await self._changed.wait()
            self._changed.clear()

    def _on_message(self, message: Message, fd: int | None) -> None:
        match message:
            case AddVersion():
                self._open(message)
            case AddBrokenVersion(key, reason):
                self._add(BrokenVersion(key, reason))
            case RemoveVersion(key):
                self._remove(key)
            case AttachWorker() if fd is not None:
                self._attach(message, socket.socket(fileno=fd))
            case SetState(key, state, reason):
                if isinstance(version := self.inference.registry.get(key), ServedVersion):
                    version.set_state(state, reason)
            case Block(key, digests):
                if isinstance(version := self.inference.registry.get(key), ServedVersion):
                    version.dispatcher.block(digests)
            case Listen(port):
                self._port.set_result(port)
            case Ping():
                self._control.send(Pong())
            case GiveSamples():
                self._give_samples()
            case Leave():
                self._is_leaving = True
                self._changed.set()
            case Drain():
                self._is_leaving = True
                self._draining.set()

    def _open(self, message: AddVersion) -> None:
        directory = Path(message.directory)
        try:
            check_digest(directory / MANIFEST, message.manifest_sha256)
            manifest = read_manifest(directory)
        except ResServeError as error:
            self._add(BrokenVersion(message.key, str(error)))
            self._control.send(RejectedVersion(message.key, shorten(str(error))))
            return
        version = ServedVersion(
            message.key,
            manifest,
            self._policy,
            self._decoders,
            self.metrics,
            on_change=self._changed.set,
            on_block=lambda key, digest: self._control.send(Blocked(key, digest)),
        )
        self._add(version)

    def _add(self, version: Version) -> None:
        self.inference.registry.add(version)
        self.metrics.add_model(version.key.name)
        self._changed.set()

    def _remove(self, key: ModelKey) -> None:
        self.inference.registry.remove(key)
        self.metrics.remove(*key)
        if all(version.key.name != key.name for version in self.inference.registry):
            self.metrics.remove_model(key.name)
        self._changed.set()

    def _attach(self, message: AttachWorker, sock: socket.socket) -> None:
        version = self.inference.registry.get(message.key)
        if isinstance(version, ServedVersion):
            version.attach(sock, message.loaded)
            self._control.send(Attached(message.key, message.worker))
        else:
            sock.close()

    def _give_samples(self) -> None:
        found = values(self.metrics.registry)
        for start in range(0, max(len(found), 1), _SAMPLES):
            part = found[start : start + _SAMPLES]
            self._control.send(Samples(part, last=start + _SAMPLES >= len(found)))
