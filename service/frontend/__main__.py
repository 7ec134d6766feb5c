"""`python -m service.frontend CONTROL`: one more frontend on the port of another process, which owns the workers."""

import asyncio
import json
import os
import socket
import sys
from functools import partial
from typing import Any

from service.dispatch.model import Model
from service.frontend.frontend import Frontend
from service.ipc import messages
from service.ipc.connection import Channel
from service.settings import Settings
from service.supervisor.versions import find
from service.system.child import die_with_parent
from service.system.memory import keep_heap
from service.telemetry import logs


def main() -> None:
    """Answer until the first frontend says drain, or hangs up."""
    die_with_parent()
    keep_heap()
    control = socket.socket(fileno=int(sys.argv[1]))
    settings = Settings(**json.loads(control.recv(messages.MAX_PACKET))["settings"])
    logs.configure(settings.log_level, settings.log_format)
    asyncio.run(_run(settings, control))


class _Sibling:
    def __init__(self, settings: Settings, control: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        self._frontend = Frontend(settings, find(settings.repository, settings.model))
        self._control = control
        self._port: asyncio.Future[int] = self._loop.create_future()
        self._drain = asyncio.Event()
        control.setblocking(False)
        self._loop.add_reader(control, self._listen)
        for name, model in self._frontend.models.items():
            if model.dispatcher:
                model.dispatcher.poison.found = partial(self._condemn, name)

    async def run(self) -> None:
        await self._frontend.open(await self._port, shared=True)
        await self._drain.wait()
        await self._frontend.drain()

    def _listen(self) -> None:
        packet, fds, _, _ = socket.recv_fds(self._control, messages.MAX_PACKET, 1)
        if not packet:
            os._exit(1)  # the first frontend has ended, and the workers with it
        match json.loads(packet):
            case {"port": int(port)}:
                self._port.set_result(port)
            case {"ping": True}:
                self._control.send(json.dumps({"pong": True}).encode())
            case {"drain": True}:
                self._drain.set()
            case {"model": str(name), "ready": dict(ready)}:
                self._connect(self._frontend.models[name], ready, socket.socket(fileno=fds[0]))
            case {"model": str(name), "poison": list(digests)}:
                dispatcher = self._frontend.models[name].dispatcher
                assert dispatcher
                dispatcher.refuse(bytes.fromhex(digest) for digest in digests)
            case {"model": str(name), "state": "FAILED" | "LOADING" as state, "reason": str(reason)}:
                self._frontend.models[name].move(state, reason)

    def _condemn(self, name: str, digest: bytes) -> None:
        self._control.send(json.dumps({"model": name, "poison": digest.hex()}).encode())

    def _connect(self, model: Model, ready: dict[str, Any], end: socket.socket) -> None:
        assert model.dispatcher and model.slots
        end.setblocking(False)
        channel = Channel(end, model.dispatcher.heard, lambda: model.disconnect("its worker is being replaced."))
        channel.send(messages.Text({"slots": model.slots.shape}), (model.slots.fd,))
        model.connect(ready, channel.send)


async def _run(settings: Settings, control: socket.socket) -> None:
    await _Sibling(settings, control).run()


main()
