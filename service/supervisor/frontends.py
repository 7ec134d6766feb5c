"""More frontends on the same port: processes of their own that share the workers of the first.

The first frontend owns the workers and the HTTP port. Over a socket pair it hands every other one a channel to each
worker that is ready, and tells it what state each model is in; what one finds to be poison all are told.
"""

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

from service.dispatch.model import Model
from service.ipc import messages
from service.settings import Settings
from service.supervisor.heartbeat import Heartbeat
from service.supervisor.worker_process import WorkerProcess
from service.telemetry.logs import log

_RESTART_SECONDS = 0.5
_STARTS_WITHIN = 60


class Siblings:
    """The other frontends, as the first sees them. One that ends or hangs is replaced."""

    def __init__(self, settings: Settings, models: Mapping[str, Model]) -> None:
        """On the running event loop; nothing is started before `listen`.

        Args:
            settings: of the service.
            models: of the first frontend, by name.
        """
        self._settings, self._models = settings, models
        self._frontends: list[_Sibling] = []
        self._port = 0
        self._stopping = False
        self._states: dict[str, dict[str, Any]] = {}
        self._workers: dict[str, tuple[Model, dict[str, Any], WorkerProcess]] = {}

    def listen(self, port: int) -> None:
        """Start them on the port that the first has taken."""
        self._port = port
        for _ in range(self._settings.frontends - 1):
            self._start()

    def connect(self, model: Model, ready: dict[str, Any], worker: WorkerProcess) -> None:
        """A worker is ready for all."""
        self._states.pop(model.name, None)
        self._workers[model.name] = (model, ready, worker)
        for frontend in self._frontends:
            frontend.connect(model, ready, worker)

    def move(self, model: Model) -> None:
        """A model is no longer ready."""
        self._workers.pop(model.name, None)
        self._states[model.name] = {"model": model.name, "state": model.state, "reason": model.reason}
        for frontend in self._frontends:
            frontend.tell(self._states[model.name])

    def condemn(self, name: str, digest: bytes, finder: "_Sibling | None" = None) -> None:
        """An image of a model is poison, as one of the frontends has found."""
        if finder and (dispatcher := self._models[name].dispatcher):
            dispatcher.refuse([digest])
        for frontend in self._frontends:
            if frontend is not finder:
                frontend.tell({"model": name, "poison": [digest.hex()]})

    async def drain(self, seconds: float) -> None:
        """Let them finish what they accepted, and end those that do not in time."""
        self._stopping = True
        for frontend in self._frontends:
            frontend.tell({"drain": True})
        await asyncio.gather(*(frontend.ended(seconds) for frontend in self._frontends))

    def _start(self) -> None:
        try:
            frontend = _Sibling(self._settings, self._replace, self.condemn)
        except OSError as error:
            log.error("frontend cannot start", error=str(error), again_in=_RESTART_SECONDS)
            asyncio.get_running_loop().call_later(_RESTART_SECONDS, self._start)
            return
        for state in self._states.values():
            frontend.tell(state)
        for name, model in self._models.items():
            if model.dispatcher and (poison := model.dispatcher.poison.digests):
                frontend.tell({"model": name, "poison": [digest.hex() for digest in poison]})
        for worker in self._workers.values():
            frontend.connect(*worker)
        frontend.tell({"port": self._port})
        self._frontends.append(frontend)

    def _replace(self, frontend: "_Sibling") -> None:
        if not self._stopping:
            log.error("frontend ended", pid=frontend.pid)
            self._frontends.remove(frontend)
            asyncio.get_running_loop().call_later(_RESTART_SECONDS, self._start)


class _Sibling:
    """One other frontend."""

    def __init__(
        self,
        settings: Settings,
        gone: Callable[["_Sibling"], None],
        condemn: Callable[[str, bytes, "_Sibling"], None],
    ) -> None:
        self._gone, self._condemn = gone, condemn
        self._loop = asyncio.get_running_loop()
        self._control, theirs = messages.pair()
        command = [sys.executable, "-m", "service.frontend", str(theirs.fileno())]
        self._process = subprocess.Popen(command, pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL)
        theirs.close()
        self.pid = self._process.pid
        self._loop.add_reader(self._control, self._listen)
        self.tell({"settings": settings.model_dump(mode="json")})
        # The first ping is answered before it takes a call.
        self._heartbeat = Heartbeat(lambda: self.tell({"ping": True}), self._process.kill, starts_within=_STARTS_WITHIN)

    def tell(self, content: dict[str, Any], fds: tuple[int, ...] = ()) -> None:
        """Send a message; one that has just ended misses nothing."""
        try:
            socket.send_fds(self._control, [json.dumps(content).encode()], fds)
        except OSError as error:
            log.warning("frontend does not listen", pid=self.pid, error=str(error))

    def connect(self, model: Model, ready: dict[str, Any], worker: WorkerProcess) -> None:
        """Give it a channel of its own to a worker."""
        mine, theirs = messages.pair()
        worker.attach(theirs)
        self.tell({"model": model.name, "ready": ready}, (mine.fileno(),))
        mine.close()
        theirs.close()

    async def ended(self, seconds: float) -> None:
        """Wait for its end, or make it."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            await self._loop.run_in_executor(None, self._process.wait, seconds)
        self._process.kill()

    def _listen(self) -> None:
        try:
            packet = self._control.recv(messages.MAX_PACKET)
        except OSError:
            packet = b""
        if not packet:
            self._hang_up()
            return
        match json.loads(packet):
            case {"pong": True}:
                self._heartbeat.answered()
            case {"model": str(name), "poison": str(digest)}:
                self._condemn(name, bytes.fromhex(digest), self)

    def _hang_up(self) -> None:
        self._heartbeat.stop()
        self._loop.remove_reader(self._control)
        self._control.close()
        self._process.kill()
        self._loop.run_in_executor(None, self._process.wait)
        self._gone(self)
