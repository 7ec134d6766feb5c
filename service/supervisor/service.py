"""The life of the service, from the first worker to the last answer."""

import asyncio
import importlib
import json
import os
import signal
import socket
from functools import partial
from typing import TYPE_CHECKING

from resserve.errors import ResServeError
from resserve.repository import Version
from service.frontend.frontend import Frontend
from service.settings import Settings
from service.supervisor.frontends import Siblings
from service.supervisor.launch import Launched
from service.supervisor.workers import Supervisor
from service.system import memory
from service.system.sockets import check_free, listen
from service.telemetry.exposition import Exposition
from service.telemetry.logs import log

if TYPE_CHECKING:
    from service.rpc.classifier import Classifier
    from service.web.server import HttpServer


_FORCED = 130

# Seconds from when gRPC answers until HTTP does: by then a model that was served before has given its first answer.
_HTTP_AFTER = 0.5


class Service:
    """The first frontend, the workers, the HTTP port, and the other frontends."""

    def __init__(self, settings: Settings, versions: list[Version], workers: dict[str, Launched]) -> None:
        """Take over the workers, which are loading."""
        self._settings = settings
        self._frontend = Frontend(settings, versions)
        self._models = self._frontend.models
        self._siblings = Siblings(settings, self._models)
        for name, model in self._models.items():
            if model.dispatcher:
                model.dispatcher.poison.found = partial(self._siblings.condemn, name)
        restarts = self._frontend.metrics.restarts
        self._supervisors = {
            name: Supervisor(self._models[name], settings, worker, restarts, self._siblings)
            for name, worker in workers.items()
        }

    @classmethod
    async def run(cls, settings: Settings, versions: list[Version], workers: dict[str, Launched]) -> None:
        """Answer until told to stop, then drain.

        Args:
            settings: of the service.
            versions: that are known.
            workers: by model, with their orders.

        Raises:
            ResServeError: nothing can be served, or a port is taken.
        """
        stop = _stop_signal()
        service = cls(settings, versions, workers)
        try:
            await service._answer_until(stop)
        finally:
            for supervisor in service._supervisors.values():
                supervisor.stop()

    async def _answer_until(self, stop: asyncio.Event) -> None:
        settings = self._settings
        if settings.frontends > 1:
            check_free(settings.host, settings.port)
        with listen(settings.host, settings.http_port) as http_socket:
            grpc_port, classifier = await self._frontend.open(settings.port, shared=settings.frontends > 1)
            self._siblings.listen(grpc_port)
            loading = asyncio.create_task(self._loaded())
            stopping = asyncio.create_task(stop.wait())
            serving_http = asyncio.create_task(self._serve_http(http_socket, classifier, grpc_port))
            try:
                await asyncio.wait({loading, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if not stop.is_set():
                    await loading
                    self._announce(grpc_port, http_socket.getsockname()[1])
                    await stopping
            finally:
                log.info("draining", at_most_seconds=settings.drain_seconds)
                await asyncio.gather(self._frontend.drain(), self._siblings.drain(settings.drain_seconds))
                await (await serving_http).stop()
                log.info("stopped")

    async def _serve_http(self, listening: socket.socket, classifier: "Classifier", grpc_port: int) -> "HttpServer":
        # A scrape or probe that comes sooner waits in the socket: importing now would take the cores from the models.
        await asyncio.sleep(_HTTP_AFTER)
        # In a thread: calls are answered meanwhile.
        await asyncio.to_thread(importlib.import_module, "service.web.server")
        from service.web import api
        from service.web.server import HttpServer, create_app

        app = create_app(
            metrics=Exposition(self._frontend.metrics, self._models, self._worker).render,
            health=self._health,
            classify=lambda image, model: api.classify(classifier, image, model),
            models=lambda: [api.describe(model) for model in self._models.values()],
            full=memory.full,
            grpc_port=grpc_port,
        )
        server = HttpServer(app, listening)
        server.start()
        return server

    async def _loaded(self) -> None:
        """Wait until every model is READY or FAILED.

        Raises:
            ResServeError: none is ready, or one is not on the device that was asked for.
        """
        for model in self._models.values():
            await model.settled.wait()
        failed = [f"{model.name}: {model.reason}" for model in self._models.values() if model.state == "FAILED"]
        if len(failed) == len(self._models) or (failed and self._settings.device == "cuda"):
            raise ResServeError("No service without its models. " + " ".join(failed))

    def _announce(self, grpc_port: int, http_port: int) -> None:
        host = self._settings.host
        addresses = {"grpc": f"{host}:{grpc_port}", "http": f"http://{host}:{http_port}", "pid": os.getpid()}
        ready = [model.name for model in self._models.values() if model.state == "READY"]
        log.info("serving", models=ready, **addresses)
        for name in ready[:1]:
            print(f"Classify a picture:  resserve classify PICTURE --model {name} --target {addresses['grpc']}")
        print(f"The page:            {addresses['http']}/", flush=True)
        if path := self._settings.ready_file:
            temporary = path.with_name(f".{path.name}.tmp")
            temporary.write_text(json.dumps(addresses))
            temporary.replace(path)

    def _worker(self, name: str) -> int | None:
        return self._supervisors[name].pid if name in self._supervisors else None

    def _health(self) -> dict[str, object]:
        states = {name: {"state": model.state, "reason": model.reason} for name, model in self._models.items()}
        return {"ready": self._frontend.ready, "models": states}


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
