"""Errors of the HTTP port, all in JSON: `{"error": {"code": a name of google.rpc.Code, "message": str}}`."""

import json
import uuid
from typing import Any

import h11
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from service.telemetry.logs import log

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

_MAX_PATH_CHARS = 100


def error_response(
    code: str, message: str, *, status: int | None = None, headers: dict[str, str] | None = None
) -> JSONResponse:
    """An error under the status of its code, unless HTTP has a better one."""
    return JSONResponse(_body(code, message), status_code=status or HTTP_STATUS.get(code, 500), headers=headers)


def _body(code: str, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}


def explain(request: Request, error: Exception) -> JSONResponse:
    """The answer to a path or method that is not there, from what the router raises; codes as grpc-gateway has them."""
    if not isinstance(error, HTTPException):
        raise error
    path = request.url.path[:_MAX_PATH_CHARS]
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "GET, HEAD")
        message = f"{request.method} is not offered at {path}; offered: {allowed}."
        if request.method in ("POST", "PUT"):
            message += " Pictures go to /api/classify."
        return error_response("UNIMPLEMENTED", message, status=405, headers={"Allow": allowed})
    if error.status_code == 404:
        there = "/, /metrics, /livez, /readyz, /api/models and /api/classify"
        return error_response("NOT_FOUND", f"There is nothing at {path}; there is {there}.")
    return error_response("INVALID_ARGUMENT", f"{error.detail}.", status=error.status_code)


class Confined:
    """Adds HEADERS to every response; plain ASGI, so that nothing is buffered."""

    def __init__(self, app: ASGIApp) -> None:
        """`app` answers."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the app does."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self.app(scope, receive, send_with_headers)


class Guarded:
    """Answers with INTERNAL and an opaque id where the app raises; the log has the same id and the cause."""

    def __init__(self, app: ASGIApp) -> None:
        """`app` answers."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the app does, or with an error."""
        has_begun = False

        async def watched(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except Exception:
            number = uuid.uuid4().hex
            path = scope["path"][:_MAX_PATH_CHARS]
            log.exception("http request failed", method=scope["method"], path=path, id=number)
            if has_begun:
                raise  # ends the connection: the caller sees that the answer is not whole
            message = f"Something went wrong in the service; its log has more under id {number}."
            await error_response("INTERNAL", message)(scope, receive, send)


class Protocol(H11Protocol):
    """HTTP/1.1 whose refusals are JSON too."""

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, which no app sees, and hang up."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = json.dumps(_body("INVALID_ARGUMENT", "This is no valid HTTP/1.1 request.")).encode()
            headers = {**HEADERS, "Content-Type": "application/json", "Content-Length": str(len(body))}
            response = h11.Response(
                status_code=400, headers=[*headers.items(), ("Connection", "close")], reason=b"Bad Request"
            )
            for event in (response, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
