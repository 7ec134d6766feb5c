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
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from service.errors import ServiceError, TooLargeError
from service.web.errors import HTTP_STATUS, Confined, Guarded, Protocol, error_response, explain
from service.web.upload import advice, read_picture

PAGE = Path(__file__).parent / "page"
# As much as the gRPC port takes, for large tokens; uvicorn's default is 16 KiB with everything else.
_MAX_HEADER_BYTES = 32 * 1024
EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"


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

    async def take_picture(request: Request) -> Response:
        try:
            picture = await read_picture(request, full)
        except ClientDisconnect:
            return Response(status_code=HTTP_STATUS["CANCELLED"])
        except ServiceError as error:
            return error_response(error.code, str(error), status=413 if isinstance(error, TooLargeError) else None)
        answer = await classify(picture, request.query_params.get("model", ""))
        if "error" not in answer:
            return JSONResponse(answer)
        code, message = answer["error"]["code"], answer["error"]["message"]
        if code == "INVALID_ARGUMENT":
            message = f"{message} {advice(picture, request.headers.get('content-type', ''))}".rstrip()
        return error_response(code, message)

    routes = [
        Route("/metrics", get_metrics),
        Route("/livez", get_livez),
        Route("/readyz", get_readyz),
        Mount("/api", routes=[Route("/models", get_models), Route("/classify", take_picture, methods=["POST", "PUT"])]),
        Mount("/", StaticFiles(directory=PAGE, html=True)),
    ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(Confined), Middleware(Guarded)],
        exception_handlers={HTTPException: explain},
    )


class HttpServer:
    """The app on a port, in the running event loop. Signals stay with the service's own life cycle."""

    def __init__(self, app: ASGIApp, listening: socket.socket) -> None:
        """`app` answers; `listening` is closed when it stops."""
        self._socket = listening
        config = uvicorn.Config(
            app,
            http=Protocol,
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
