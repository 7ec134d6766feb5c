"""The HTTP port by itself, over real connections; what it shows is given."""

import asyncio
import http.client
import threading
from contextlib import closing
from typing import Any

from service.system.sockets import listen
from service.web.errors import HTTP_STATUS
from service.web.server import HttpServer, create_app


class Port:
    """An `HttpServer` in a thread with its own event loop."""

    def __init__(self) -> None:
        self.ready, self.full = True, False
        self.seen: list[tuple[int, str]] = []
        self.pictures: list[bytes] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        app = create_app(
            metrics=self._metrics,
            health=lambda: {"ready": self.ready, "models": {"a": {"state": "READY", "reason": ""}}},
            classify=self._classify,
            models=lambda: [{"name": "a"}],
            full=lambda: self.full,
            grpc_port=1234,
        )
        listening = listen("127.0.0.1", 0)
        self.port = listening.getsockname()[1]
        self._server = HttpServer(app, listening)
        self._loop.call_soon_threadsafe(self._server.start)

    async def _metrics(self) -> bytes:
        return b"one_total 1.0\n"

    async def _classify(self, image: bytes, model: str) -> dict[str, Any]:
        self.seen.append((len(image), model))
        self.pictures.append(image)
        if model == "broken":
            raise RuntimeError("a mistake of ours")
        return {"error": {"code": model, "message": "No."}} if model in HTTP_STATUS else {"labels": [], "model": model}

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers in lower case, body."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._server.stop(), self._loop).result(timeout=60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
