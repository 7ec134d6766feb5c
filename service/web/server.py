"""The HTTP port: metrics, health, and the page with its small JSON interface.

The app is given what it shows as callables and knows nothing else of the service.
"""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PAGE = Path(__file__).parent / "page"
MAX_BODY_BYTES = 20 * 1024 * 1024
# As much as the gRPC port takes, for large tokens; uvicorn's default is 16 KiB with everything else.
_MAX_HEADER_BYTES = 32 * 1024
# Bodies up to this size are read whatever else arrives.
_SMALL_BYTES = 1024 * 1024
EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"

# google.rpc.Code by name to the HTTP status that google/rpc/code.proto maps it to.
HTTP_STATUS = {
    "CANCELLED": 499,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
}

HEADERS = {
    # Everything comes from this port; a chosen picture is shown from memory (blob:).
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


def create_app(
    *,
    metrics: Callable[[], Awaitable[bytes]],
    health: Callable[[], dict[str, Any]],
    classify: Callable[[bytes, str], Awaitable[dict[str, Any]]],
    models: Callable[[], list[dict[str, Any]]],
    full: Callable[[], bool],
    grpc_port: int = 8001,
) -> Starlette:
    """The app of the HTTP port.

    Args:
        metrics: the Prometheus exposition, text format 0.0.4.
        health: `{"ready": bool, "models": {name: {"state": "READY|LOADING|FAILED", "reason": str}}}`.
        classify: an encoded image (at most 20 MiB) and a model's name to the answer, or to
            `{"error": {"code": a name of google.rpc.Code, "message": str}}`, whose code sets the HTTP status.
        models: one entry for each model version that the service knows.
        full: whether there is no memory for more that is sent.
        grpc_port: where the same call is answered over gRPC; the page writes it into its commands.
    """

    async def get_metrics(_: Request) -> Response:
        return Response(await metrics(), media_type=EXPOSITION)

    async def get_livez(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def get_readyz(_: Request) -> Response:
        state = health()
        return JSONResponse(state, status_code=200 if state["ready"] else 503)

    async def get_models(_: Request) -> Response:
        return JSONResponse({"grpc_port": grpc_port, "models": models()})

    async def post_classify(request: Request) -> Response:
        try:
            image = await _read_body(request, full)
        except ClientDisconnect:
            return Response(status_code=HTTP_STATUS["CANCELLED"])
        except _TooLargeError:
            message = f"The image is larger than {MAX_BODY_BYTES // 2**20} MiB, the most that is read."
            return _error_response({"code": "INVALID_ARGUMENT", "message": message}, status=413)
        except MemoryError:
            message = "More is being sent than there is memory for: try again."
            return _error_response({"code": "RESOURCE_EXHAUSTED", "message": message})
        answer = await classify(image, request.query_params.get("model", ""))
        return _error_response(answer["error"]) if "error" in answer else JSONResponse(answer)

    routes = [
        Route("/metrics", get_metrics),
        Route("/livez", get_livez),
        Route("/readyz", get_readyz),
        Mount("/api", routes=[Route("/models", get_models), Route("/classify", post_classify, methods=["POST"])]),
        Mount("/", StaticFiles(directory=PAGE, html=True)),
    ]
    return Starlette(routes=routes, middleware=[Middleware(_SecurityHeaders)])


class _TooLargeError(Exception):
    """A body passes the limit."""


async def _read_body(request: Request, full: Callable[[], bool]) -> bytes:
    """The body.

    Raises:
        _TooLargeError: as soon as it is known to pass the limit.
        MemoryError: with all that others send, it would be too much.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > MAX_BODY_BYTES:
        raise _TooLargeError
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise _TooLargeError
        if len(body) > _SMALL_BYTES and full():
            raise MemoryError
    return bytes(body)


def _error_response(error: dict[str, Any], status: int | None = None) -> JSONResponse:
    return JSONResponse({"error": error}, status_code=status or HTTP_STATUS.get(error["code"], 500))


class _SecurityHeaders:
    """Adds HEADERS to every response; plain ASGI, so that nothing is buffered."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self.app(scope, receive, send_with_headers)


class HttpServer:
    """The app on a port, in the running event loop. Signals stay with the service's own life cycle."""

    def __init__(self, app: ASGIApp, listening: socket.socket) -> None:
        """`app` answers; `listening` is closed when it stops."""
        self._socket = listening
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=5,
            h11_max_incomplete_event_size=_MAX_HEADER_BYTES,
        )
        self._server = _Server(config)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Answer from now on."""
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]), name="http")

    async def stop(self) -> None:
        """Finish what was begun, within seconds, and free the port."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task
        self._socket.close()


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave SIGTERM alone: uvicorn would take it for itself."""
        yield
