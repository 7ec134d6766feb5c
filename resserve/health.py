"""The health of the service on this machine, asked as a probe asks: once, directly, and with little patience."""

import http.client
import json
from contextlib import closing
from typing import Any

from resserve.addresses import join
from resserve.errors import ResServeError

# The image's health check grants 5 s, of which Python needs some to start.
TIMEOUT_SECONDS = 2.0

_HINT = "start `resserve serve`, or give `resserve health` the settings that it has"


def check_http(host: str, port: int, *, live: bool) -> str:
    """Ask `/readyz`, or `/livez` for liveness. http.client knows no proxies, so none comes between.

    Args:
        host: the address that the service was told to listen on. Linux takes 0.0.0.0 and :: for this machine.
        port: the HTTP port.
        live: ask for liveness, which a service that loads, drains or has too much to do keeps.

    Returns:
        One sentence that says what is well.

    Raises:
        ResServeError: the service is not well, or does not answer.
    """
    path = "/livez" if live else "/readyz"
    url = f"http://{_address(host, port, 'http_port')}{path}"
    with closing(http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)) as connection:
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            status, body = response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise ResServeError(f"No valid answer from {url} ({reason}): {_HINT}.") from None
    if status == 200:
        return f"{url}: {'alive' if live else 'ready'}."
    if status == 503 and not live:
        raise ResServeError(f"{url}: not ready, {_unready(body)}.")
    raise ResServeError(f"{url} answered with status {status}, unlike ResServe: {_HINT}.")


def check_grpc(host: str, port: int, *, live: bool) -> str:
    """Ask the gRPC health service, as `check_http` asks the HTTP port.

    Raises:
        ResServeError: the service is not well, or does not answer.
    """
    import grpc  # takes a tenth of a second, which the other probe need not pay
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    address = _address(host, port, "port")
    request = health_pb2.HealthCheckRequest(service="" if live else "resserve.v1.Classifier")
    with grpc.insecure_channel(address, (("grpc.enable_http_proxy", 0),)) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)  # whose types lack its methods
        try:
            status = stub.Check(request, timeout=TIMEOUT_SECONDS).status
        except grpc.RpcError as error:
            raise ResServeError(f"No valid answer from {address} ({error.code().name}): {_HINT}.") from None
    if status != health_pb2.HealthCheckResponse.SERVING:
        said = health_pb2.HealthCheckResponse.ServingStatus.Name(status)
        raise ResServeError(f"{address}: not {'alive' if live else 'ready'}, it says {said}.")
    return f"{address}: {'alive' if live else 'ready'}."


def _address(host: str, port: int, setting: str) -> str:
    if port == 0:
        raise ResServeError(f"Setting {setting} is 0, which takes any free port: give the one that the service took.")
    return join(host, port)


def _unready(body: bytes) -> str:
    """What keeps the service from being ready, by the body of `/readyz`."""
    try:
        models: dict[str, dict[str, str]] = json.loads(body)["models"]
        waiting = [
            f"{name} is {state['state'].lower()}" + (f" ({state['reason'].rstrip('.')})" if state["reason"] else "")
            for name, state in models.items()
            if state["state"] != "READY"
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        return "and it does not say why"
    return "; ".join(waiting) or "it is draining"
