"""The life of the service, from the first worker to the last answer."""

import asyncio
import json
import os
import signal
import time
from functools import partial

from starlette.applications import Starlette

from resserve.errors import ResServeError
from resserve.model_key import ModelKey
from service.dispatch.version import Description, describe_plan
from service.ipc.messages import STATES, Load, Loaded, State
from service.settings import Settings
from service.supervisor.frontends import Frontends
from service.supervisor.launch import Launched
from service.supervisor.versions import Found, Status
from service.supervisor.worker_process import WorkerProcess
from service.supervisor.workers import SupervisedWorker
from service.system import memory
from service.system.sockets import check_free, listen
from service.telemetry.exposition import Exposition, VersionRow
from service.telemetry.logs import log
from service.telemetry.metrics import SupervisorMetrics
from service.web import api
from service.web.server import HttpServer, create_app

_FORCED = 130


class Service:
    """The supervisor: owns the workers, the frontends and the HTTP port, and knows how every version is."""

    def __init__(self, settings: Settings, found: list[Found], workers: list[tuple[Load, Launched]]) -> None:
        """Take over the workers, which are loading.

        Args:
            settings: of the service.
            found: the versions that there are.
            workers: each with the request that it was sent.
        """
        self._settings = settings
        self._metrics = SupervisorMetrics(each.key.name for each in found)
        self._is_draining = False
        self._versions = {each.key: Status(each) for each in found}
        self._workers = {
            request.key: SupervisedWorker(request, launched, settings.load_seconds, self)
            for request, launched in workers
        }
        self._frontends = Frontends(settings, self._versions, self)
        self._exposition = Exposition(self._metrics, self._frontends.gathered, self._rows)
        for each in found:
            if each.manifest is None:
                self._unload(each.key, "FAILED", each.broken)

    @classmethod
    async def run(cls, settings: Settings, found: list[Found], workers: list[tuple[Load, Launched]]) -> None:
        """Answer until told to stop, then drain; the arguments are those of the constructor.

        Raises:
            ResServeError: nothing can be served, or a port is taken.
        """
        stop = _stop_signal()
        service = cls(settings, found, workers)
        try:
            await service._answer_until(stop)
        finally:
            service.close()

    def close(self) -> None:
        """End every process."""
        self._frontends.close()
        for worker in self._workers.values():
            worker.close()

    async def _answer_until(self, stop: asyncio.Event) -> None:
        settings = self._settings
        if settings.frontends > 1:
            check_free(settings.host, settings.port)
        with listen(settings.host, settings.http_port) as http_socket:
            grpc_port = await self._frontends.open(settings.port)
            http = HttpServer(self._create_app(grpc_port), http_socket)
            http.start()
            loading = asyncio.create_task(self._loaded())
            stopping = asyncio.create_task(stop.wait())
            try:
                await asyncio.wait({loading, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if not stop.is_set():
                    await loading
                    self._announce(grpc_port, http_socket.getsockname()[1])
                    await stopping
            finally:
                self._is_draining = True
                log.info("draining", at_most_seconds=settings.drain_seconds)
                await self._frontends.drain(settings.drain_seconds)
                await http.stop()
                log.info("stopped")

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

    async def _loaded(self) -> None:
        """Wait until every version is READY or FAILED.

        Raises:
            ResServeError: none is ready, or one is not on the device that was asked for.
        """
        for status in self._versions.values():
            await status.settled.wait()
        failed = [f"{key.name}: {status.reason}" for key, status in self._versions.items() if status.state == "FAILED"]
        if len(failed) == len(self._versions) or (failed and self._settings.device == "cuda"):
            raise ResServeError("No service without its models. " + " ".join(failed))

    # Workers tell how they are.

    def on_loaded(self, key: ModelKey, process: WorkerProcess, loaded: Loaded) -> None:
        """Hand the worker to every frontend."""
        self._versions[key].worker = (process, loaded)
        self._frontends.attach(key)

    def on_lost(self, key: ModelKey, reason: str) -> None:
        """Another worker is coming."""
        self._metrics.restarts.labels(key.name, reason).inc()
        self._unload(key, "LOADING", f"its worker is being replaced ({reason}).")

    def on_given_up(self, key: ModelKey, reason: str) -> None:
        """The version is not served for now."""
        self._unload(key, "FAILED", reason)

    # Frontends tell what they have.

    def on_attached(self, key: ModelKey) -> None:
        """Every frontend has the worker: the version is ready."""
        status = self._versions[key]
        if status.worker is None or status.state == "READY":
            return
        status.set_state("READY")
        process, loaded = status.worker
        log.info(
            "model ready",
            model=key.name,
            version=key.version,
            worker=process.pid,
            seconds=round(time.monotonic() - process.started, 3),
            plan=describe_plan(loaded),
        )

    def on_rejected(self, key: ModelKey, reason: str) -> None:
        """A frontend does without the version; where none was ready yet, it is not served."""
        log.error("frontend cannot serve version", model=key.name, version=key.version, reason=reason)
        if not self._versions[key].settled.is_set():
            self._unload(key, "FAILED", reason)

    def _unload(self, key: ModelKey, state: State, reason: str) -> None:
        status = self._versions[key]
        status.worker = None
        status.set_state(state, reason)
        if state == "FAILED":
            log.error("model failed", model=key.name, version=key.version, reason=reason)
        self._frontends.tell_state(key)

    # What is shown of the service.

    def _announce(self, grpc_port: int, http_port: int) -> None:
        host = self._settings.host
        addresses = {"grpc": f"{host}:{grpc_port}", "http": f"http://{host}:{http_port}", "pid": os.getpid()}
        ready = [key.name for key, status in self._versions.items() if status.state == "READY"]
        log.info("serving", models=ready, **addresses)
        for name in ready[:1]:
            print(f"Classify a picture:  resserve classify PICTURE --model {name} --target {addresses['grpc']}")
        print(f"The page:            {addresses['http']}/", flush=True)
        if path := self._settings.ready_file:
            temporary = path.with_name(f".{path.name}.tmp")
            temporary.write_text(json.dumps(addresses))
            temporary.replace(path)

    def _health(self) -> dict[str, object]:
        versions = self._versions.values()
        settled = all(status.settled.is_set() for status in versions)
        ready = any(status.state == "READY" for status in versions)
        states = {key.name: {"state": status.state, "reason": status.reason} for key, status in self._versions.items()}
        return {"ready": settled and ready and not self._is_draining, "models": states}

    async def _render_metrics(self) -> bytes:
        await self._frontends.gather()
        return await self._exposition.render()

    def _rows(self) -> list[VersionRow]:
        return [self._row(version.key, version.description) for version in self._frontends.local.inference.registry]

    def _row(self, key: ModelKey, description: Description) -> VersionRow:
        status = self._versions[key]
        manifest = status.found.manifest
        return VersionRow(
            labels=description.metric_labels,
            provider=description.provider,
            untrained=description.untrained,
            state=status.state,
            states=STATES,
            parameters=manifest.parameters if manifest else None,
            multiply_adds=manifest.multiply_adds if manifest else None,
            top1=manifest.metrics.get("top1") if manifest else None,
            worker=status.worker[0].pid if status.worker else None,
        )


def _stop_signal() -> asyncio.Event:
    """Set by the first SIGTERM or SIGINT; the second ends the service at once."""
    stop = asyncio.Event()

    def handle() -> None:
        if stop.is_set():
            os._exit(_FORCED)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, handle)
    return stop
