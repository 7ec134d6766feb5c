"""The JSON interface of the page: what the HTTP port shows of the service, as plain dictionaries."""

from dataclasses import asdict
from typing import Any

from service.dispatch.inference import Inference
from service.dispatch.version import Description
from service.errors import ServiceError

_TOP_K = 5


def describe(version: Description) -> dict[str, Any]:
    """One model version, for the page."""
    facts = asdict(version)
    labels = facts.pop("labels")
    return {**facts, "labels_count": len(labels)}


async def classify(inference: Inference, image: bytes, model: str) -> dict[str, Any]:
    """One picture, dropped on the page, through the same way in as over gRPC."""
    try:
        result = await inference.classify(model, 0, [image], client="page", top_k=_TOP_K)
    except ServiceError as error:
        return {"error": {"code": error.code, "message": str(error)}}
    version, prediction = result.version, result.outcomes[0]
    if isinstance(prediction, ServiceError):
        return {"error": {"code": prediction.code, "message": str(prediction)}}
    return {
        "model": version.name,
        "version": version.version,
        "architecture": version.architecture,
        "precision": version.precision,
        "device": version.device,
        "untrained": version.untrained,
        "labels": [
            {"index": rank.index, "name": version.labels[rank.index], "probability": rank.probability}
            for rank in prediction.ranks
        ],
        "timings": asdict(prediction.timings),
        "batch_size": prediction.batch,
    }
