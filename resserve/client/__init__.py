"""The Python client: blocking (`Client`) and for asyncio (`AsyncClient`)."""

from resserve.client.aio import AsyncClient
from resserve.client.blocking import Client
from resserve.client.images import Image
from resserve.client.results import Label, ModelStatus, Prediction, ServedModel, Timings
from resserve.client.wire import Options

__all__ = [
    "AsyncClient",
    "Client",
    "Image",
    "Label",
    "ModelStatus",
    "Options",
    "Prediction",
    "ServedModel",
    "Timings",
]
