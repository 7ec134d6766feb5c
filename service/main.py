"""The life of the service, from the first worker to the last answer."""

import asyncio
import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import structlog
from prometheus_client import generate_latest

from resserve.errors import ResServeError
from resserve.repository import Version
from resserve.runtime import check_onnxruntime
from service import logs
from service.memory import keep_heap
from service.metrics import Metrics
from service.model import Model
from service.repository import find
from service.settings import Settings

if TYPE_CHECKING:
    from service.rpc.server import GrpcServer

log = structlog.get_logger()

_FORCED = 130


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; a second one ends it at once.

    Raises:
        ResServeError: nothing can be served, or a port is taken.
    """
    check_onnxruntime()
    logs.configure(settings.log_level, settings.log_format)
    versions = find(settings.repository, settings.model)
    keep_heap()
    asyncio.run(Service(settings).run(versions))


class Service:
    """Everything that one frontend process holds."""

    def __init__(self, settings: Settings) -> None:
        """Nothing runs before `run`."""
        self._settings = settings
        self._metrics = Metrics()
        self._decoders = ThreadPoolExecutor(len(os.sched_getaffinity(0)), thread_name_prefix="decode")
        self._models: dict[str, Model] = {}
        self._draining = False
        self._changed = asyncio.Event()

    async def run(self, versions: list[Version]) -> None:
        """Load, answer, drain."""
        stop = _stop_signal()
        # Workers first: they load while this process imports and binds what it answers with.
        for version in versions:
            self._models[version.name] = Model(
                version, self._settings, self._decoders, self._metrics, self._changed.set
            )
        try:
            await self._answer_until(stop)
        finally:
            for model in self._models.values():
                if model.supervisor:
                    model.supervisor.stop()
            self._decoders.shutdown(wait=False, cancel_futures=True)

    async def _answer_until(self, stop: asyncio.Event) -> None:
        # Imported while the workers load: the first answer comes a quarter of a second sooner.
        from service import page_api
        from service.http import HttpServer, create_app
        from service.rpc.classifier import Classifier
        from service.rpc.server import GrpcServer

        settings = self._settings
        classifier = Classifier(self._models, self._metrics, settings.default_deadline)
        grpc_server = GrpcServer(classifier, self._metrics, settings.host, settings.port)
        app = create_app(
            metrics=self._exposition,
            health=self._health,
            classify=lambda image, model: page_api.classify(classifier, image, model),
            models=lambda: [page_api.describe(model) for model in self._models.values()],
            grpc_port=grpc_server.port,
        )
        http_server = HttpServer(app, settings.host, settings.http_port)
        await grpc_server.start()
        http_server.start()
        health = asyncio.create_task(self._tell_health(grpc_server))
        try:
            loading = asyncio.create_task(self._loaded())
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait({loading, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not stop.is_set():
                await loading
                self._announce(grpc_server.port, http_server.port)
                await stopping
        finally:
            self._draining = True
            health.cancel()
            log.info("draining", at_most_seconds=settings.drain_seconds)
            await grpc_server.stop(settings.drain_seconds)
            await http_server.stop()
            log.info("stopped")

    async def _loaded(self) -> None:
        """Wait until every model is READY or FAILED.

        Raises:
            ResServeError: none is ready, or one is not on the device that was asked for.
        """
        for model in self._models.values():
            if model.supervisor:
                await model.supervisor.settled.wait()
        failed = [f"{model.name}: {model.reason}" for model in self._models.values() if model.state == "FAILED"]
        if len(failed) == len(self._models) or (failed and self._settings.device == "cuda"):
            raise ResServeError("No service without its models. " + " ".join(failed))

    def _announce(self, grpc_port: int, http_port: int) -> None:
        host = self._settings.host
        addresses = {"grpc": f"{host}:{grpc_port}", "http": f"http://{host}:{http_port}", "pid": os.getpid()}
        ready = [model.name for model in self._models.values() if model.state == "READY"]
        log.info("serving", models=ready, **addresses)
        if path := self._settings.ready_file:
            temporary = path.with_name(f".{path.name}.tmp")
            temporary.write_text(json.dumps(addresses))
            temporary.replace(path)

    @property
    def _ready(self) -> bool:
        settled = all(not model.supervisor or model.supervisor.settled.is_set() for model in self._models.values())
        return settled and not self._draining and any(model.state == "READY" for model in self._models.values())

    def _health(self) -> dict[str, object]:
        states = {name: {"state": model.state, "reason": model.reason} for name, model in self._models.items()}
        return {"ready": self._ready, "models": states}

    async def _tell_health(self, server: "GrpcServer") -> None:
        from service.rpc.server import SERVICE

        while True:
            await server.set_health(SERVICE, self._ready)
            for name, model in self._models.items():
                await server.set_health(name, model.state == "READY")
            await self._changed.wait()
            self._changed.clear()

    def _exposition(self) -> bytes:
        self._metrics.info.clear()
        for model in self._models.values():
            model.report()
        return generate_latest(self._metrics.registry)


def _stop_signal() -> asyncio.Event:
    """Set by the first SIGTERM or SIGINT; the second does not wait for anyone."""
    stop = asyncio.Event()

    def handle() -> None:
        if stop.is_set():
            os._exit(_FORCED)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, handle)
    return stop
