"""The versions that are served: their workers, the frontends that answer for them, and how each is."""

import asyncio
import time
from collections.abc import Iterator

from resserve.errors import ResServeError
from resserve.model_key import ModelKey
from service.dispatch.version import Description, describe_plan
from service.ipc import connection
from service.ipc.messages import STATES, Load, Loaded, State
from service.settings import Settings
from service.supervisor.frontends import Frontends
from service.supervisor.launch import Launched, launch_worker
from service.supervisor.versions import Found, Status, load_request, older
from service.supervisor.worker_process import WorkerProcess
from service.supervisor.workers import NO_START_SECONDS, SupervisedWorker
from service.telemetry.exposition import VersionRow
from service.telemetry.logs import log
from service.telemetry.metrics import SupervisorMetrics


class Serving:
    """Knows how every version is, and tells the frontends.

    Attributes:
        frontends: that answer calls.
        metrics: of the supervisor.
    """

    def __init__(self, settings: Settings, found: list[Found], workers: list[tuple[Load, Launched]]) -> None:
        """Take over the workers, which are loading.

        Args:
            settings: of the service.
            found: the versions that there are.
            workers: each with the request that it was sent.
        """
        self.metrics = SupervisorMetrics(each.key.name for each in found)
        self._settings = settings
        self._versions = {each.key: Status(each) for each in found}
        self._workers = {
            request.key: SupervisedWorker(request, launched, settings.load_seconds, self)
            for request, launched in workers
        }
        self.frontends = Frontends(settings, self._versions, self)
        for each in found:
            if each.manifest is None:
                self.on_refused(each.key, each.broken)

    def close(self) -> None:
        """End every process."""
        self.frontends.close()
        for worker in self._workers.values():
            worker.close()

    async def wait_until_settled(self) -> None:
        """Wait until every version is READY or FAILED.

        Raises:
            ResServeError: no model is ready, or one is not on the device that was asked for.
        """
        while unsettled := [status for status in self._versions.values() if not status.settled.is_set()]:
            await unsettled[0].settled.wait()
        ready = set(self.ready_models)
        failed = [f"{key.name}: {status.reason}" for key, status in self._versions.items() if key.name not in ready]
        if not ready or (failed and self._settings.device == "cuda"):
            raise ResServeError("No service without its models. " + " ".join(failed))

    @property
    def ready_models(self) -> list[str]:
        """Names of the models of which a version is READY."""
        return [key.name for key, status in self._versions.items() if status.state == "READY"]

    # Workers tell how they are.

    def on_loaded(self, key: ModelKey, process: WorkerProcess, loaded: Loaded) -> None:
        """Hand the worker to every frontend."""
        self._versions[key].worker = (process, loaded)
        self.frontends.attach(key)

    def on_lost(self, key: ModelKey, reason: str) -> None:
        """Another worker is coming."""
        self.metrics.restarts.labels(key.name, reason).inc()
        self._unload(key, "LOADING", f"its worker is being replaced ({reason}).")

    def on_refused(self, key: ModelKey, reason: str) -> None:
        """Serve the next older version instead, unless this one was asked for."""
        self._unload(key, "FAILED", reason)
        found = older(self._settings.repository, self._settings.model, key)
        if found is None:
            return
        log.warning("older version is served", model=key.name, version=found.key.version, instead_of=key.version)
        self._versions[found.key] = Status(found)
        self.frontends.add(found.key)
        if found.manifest is None:
            self.on_refused(found.key, found.broken)
        else:
            self._load(load_request(found, found.manifest, self._settings))

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

    def _load(self, request: Load) -> None:
        try:
            launched = launch_worker()
        except OSError as error:
            log.error("worker cannot start", model=request.key.name, error=str(error), again_in=NO_START_SECONDS)
            asyncio.get_running_loop().call_later(NO_START_SECONDS, self._load, request)
            return
        connection.send(launched.sock, request)
        self._workers[request.key] = SupervisedWorker(request, launched, self._settings.load_seconds, self)

    def _unload(self, key: ModelKey, state: State, reason: str) -> None:
        status = self._versions[key]
        status.worker = None
        status.set_state(state, reason)
        if state == "FAILED":
            log.error("model failed", model=key.name, version=key.version, reason=reason)
        self.frontends.tell_state(key)

    # What is shown of them.

    @property
    def is_ready(self) -> bool:
        """Every version was READY or FAILED once, and one is READY."""
        settled = all(status.settled.is_set() for status in self._versions.values())
        return settled and bool(self.ready_models)

    def health(self) -> dict[str, dict[str, str]]:
        """State and reason of each model: of its version that is READY, or of the newest."""
        models: dict[str, dict[str, str]] = {}
        for key, status in sorted(self._versions.items()):
            if key.name not in models or models[key.name]["state"] != "READY":
                models[key.name] = {"state": status.state, "reason": status.reason}
        for key, status in self._versions.items():
            shown = models[key.name]
            if shown["state"] == "READY" and status.state == "FAILED":
                shown["reason"] = f"version {key.version} failed: {status.reason}"
        return models

    def rows(self) -> Iterator[VersionRow]:
        """Facts about each version, for a scrape."""
        for version in self.frontends.local.inference.registry:
            yield _row(self._versions[version.key], version.description)


def _row(status: Status, description: Description) -> VersionRow:
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
