"""The life of the service, from the first worker to the last answer."""

import asyncio
import json
import os
import signal
from functools import partial
from pathlib import Path

from starlette.applications import Starlette

from resserve.addresses import join, loopback
from resserve.errors import ResServeError
from service.ipc.messages import Load
from service.settings import Settings
from service.supervisor.launch import Launched
from service.supervisor.serving import Serving
from service.supervisor.versions import Found
from service.system import memory
from service.system.sockets import check_free, listen
from service.telemetry.exposition import Exposition
from service.telemetry.logs import log
from service.web import api
from service.web.server import HttpServer, create_app

_FORCED = 130


class Service:
    """The supervisor: owns the frontends, the workers and the HTTP port."""

    def __init__(self, settings: Settings, found: list[Found], workers: list[tuple[Load, Launched]]) -> None:
        """Take over the workers, which are loading.

        Args:
            settings: of the service.
            found: the versions that there are.
            workers: each with the request that it was sent.
        """
        self._settings = settings
        self._is_leaving = False
        self._serving = Serving(settings, found, workers)
        self._frontends = self._serving.frontends
        self._exposition = Exposition(self._serving.metrics, self._frontends.gathered, self._serving.rows)

    @classmethod
    async def run(cls, settings: Settings, found: list[Found], workers: list[tuple[Load, Launched]]) -> None:
        """Answer until told to stop, then drain; the arguments are those of the constructor.

        Raises:
            ResServeError: nothing can be served, a port is taken, or the ready file cannot be written.
        """
        stop = _stop_signal()
        service = cls(settings, found, workers)
        try:
            await service._answer_until(stop)
        finally:
            service._serving.close()

    async def _answer_until(self, stop: asyncio.Event) -> None:
        settings = self._settings
        if settings.frontends > 1:
            check_free(settings.host, settings.port)
        with listen(settings.host, settings.http_port) as http_socket:
            grpc_port = await self._frontends.open(settings.port)
            http = HttpServer(self._create_app(grpc_port), http_socket)
            http.start()
            loading = asyncio.create_task(self._serving.wait_until_settled())
            stopping = asyncio.create_task(stop.wait())
            try:
                await asyncio.wait({loading, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if not stop.is_set():
                    await loading
                    self._announce(grpc_port, http_socket.getsockname()[1])
                    await stopping
                    await self._leave()
            finally:
                self._is_leaving = True
                log.info("draining", at_most_seconds=settings.drain_seconds)
                await self._frontends.drain(settings.drain_seconds)
                await http.stop()
                log.info("stopped")

    async def _leave(self) -> None:
        """Be not ready, but answer, until balancers have noticed."""
        self._is_leaving = True
        self._frontends.leave()
        if seconds := self._settings.shutdown_delay:
            log.info("leaving", for_seconds=seconds)
            await asyncio.sleep(seconds)

    def _create_app(self, grpc_port: int) -> Starlette:
        inference = self._frontends.local.inference
        return create_app(
            metrics=self._render_metrics,
            health=self._health,
            classify=partial(api.classify, inference),
            models=lambda: [api.describe(version.description) for version in inference.registry],
            full=memory.full,
            grpc_port=grpc_port,
        )

    def _announce(self, grpc_port: int, http_port: int) -> None:
        host = loopback(self._settings.host)
        addresses = {"grpc": join(host, grpc_port), "http": f"http://{join(host, http_port)}", "pid": os.getpid()}
        ready = self._serving.ready_models
        log.info("serving", models=ready, host=self._settings.host, **addresses)
        for name in ready[:1]:
            print(f"Classify a picture:  resserve classify PICTURE --model {name} --target {addresses['grpc']}")
        print(f"The page:            {addresses['http']}/", flush=True)
        if path := self._settings.ready_file:
            _write(path, json.dumps(addresses))

    def _health(self) -> dict[str, object]:
        ready = self._serving.is_ready and not self._is_leaving
        return {"ready": ready, "models": self._serving.health()}

    async def _render_metrics(self) -> bytes:
        await self._frontends.gather()
        return await self._exposition.render()


def _stop_signal() -> asyncio.Event:
    """Set by the first SIGTERM, SIGINT or SIGHUP; the second ends the service at once."""
    stop = asyncio.Event()

    def handle() -> None:
        if stop.is_set():
            os._exit(_FORCED)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # under nohup(1) a closed terminal ends nothing
            loop.add_signal_handler(number, handle)
    return stop


def _write(path: Path, text: str) -> None:
    """Write a file that is there whole or not at all.

    Raises:
        ResServeError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_text(text)
        temporary.replace(path)
    except OSError as error:
        raise ResServeError(
            f"The ready file {path} cannot be written ({error.strerror}); name another with --ready-file, or none."
        ) from None
