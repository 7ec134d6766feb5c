"""What every frontend process has: the models, the gRPC port, and the health of both."""

import asyncio
import os
from typing import TYPE_CHECKING

from resserve.repository import Version
from service.dispatch.model import Model
from service.images.threads import Decoders
from service.settings import Settings
from service.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from service.rpc.classifier import Classifier


class Frontend:
    """Takes calls and hands images to the workers that its models are connected to.

    Attributes:
        models: by name.
        metrics: of this process.
        draining: no new call is taken.
    """

    def __init__(self, settings: Settings, versions: list[Version]) -> None:
        """On the running event loop; nothing is answered before `open`."""
        self.metrics = Metrics()
        self.draining = False
        self._settings = settings
        self._changed = asyncio.Event()
        decoders = Decoders(len(os.sched_getaffinity(0)))
        self.models = {
            version.name: Model(version, settings, decoders, self.metrics, self._changed.set) for version in versions
        }

    @property
    def ready(self) -> bool:
        """Every model was READY or FAILED once, and one is READY."""
        models = self.models.values()
        settled = all(model.settled.is_set() for model in models)
        return settled and not self.draining and any(model.state == "READY" for model in models)

    async def open(self, port: int, *, shared: bool) -> tuple[int, "Classifier"]:
        """Answer calls on the port.

        Args:
            port: 0 takes a free one.
            shared: other frontends listen on it too.

        Returns:
            The port, and what answers.

        Raises:
            ResServeError: the port is taken.
        """
        # Imported while the workers load: the first answer comes a quarter of a second sooner.
        from service.rpc.classifier import Classifier
        from service.rpc.server import GrpcServer

        classifier = Classifier(self.models, self.metrics, self._settings.default_deadline)
        self._server = GrpcServer(classifier, self.metrics, self._settings.host, port, shared=shared)
        await self._server.start()
        self._health = asyncio.create_task(self._tell_health())
        return self._server.port, classifier

    async def drain(self) -> None:
        """Say NOT_SERVING, refuse new calls, finish those accepted."""
        self.draining = True
        self._health.cancel()
        await self._server.stop(self._settings.drain_seconds)

    async def _tell_health(self) -> None:
        from service.rpc.server import SERVICE

        while True:
            await self._server.set_health(SERVICE, self.ready)
            for name, model in self.models.items():
                await self._server.set_health(name, model.state == "READY")
            await self._changed.wait()
            self._changed.clear()
