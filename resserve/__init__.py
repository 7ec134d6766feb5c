"""ResServe: residual networks from training to a certified gRPC service."""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resserve.client import AsyncClient, Client

__all__ = ["DEFAULT_TARGET", "AsyncClient", "Client", "__version__"]

__version__ = "0.1.0"

# ONNX Runtime 1.32 keeps a device id and a database of usage events for upload unless told not to, before its import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

DEFAULT_TARGET = "127.0.0.1:8001"
"""Where `resserve serve` listens unless told otherwise."""


def __getattr__(name: str) -> Any:
    # grpc takes a tenth of a second to import, which verbs that never call the service need not pay.
    if name in ("Client", "AsyncClient"):
        from resserve import client

        return getattr(client, name)
    raise AttributeError(f"module 'resserve' has no attribute {name!r}")
