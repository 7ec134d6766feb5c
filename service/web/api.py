"""What the HTTP port shows of the service, as plain dictionaries."""

from typing import Any

from google.rpc import code_pb2

from resserve.v1 import classifier_pb2 as pb
from service.dispatch.model import Model
from service.errors import ServiceError
from service.rpc.classifier import Classifier


def describe(model: Model) -> dict[str, Any]:
    """One model version, for the page."""
    status = model.status
    served = status.model
    return {
        **{name: getattr(served, name) for name in ("name", "version", "architecture", "precision", "device")},
        "provider": served.provider,
        "untrained": served.untrained,
        "state": model.state,
        "reason": model.reason,
        "parameters": status.parameters,
        "multiply_adds": status.multiply_adds,
        "input": [status.input_height, status.input_width],
        "plan": status.plan,
        "metrics": dict(status.metrics),
        "metrics_data": status.metrics_data,
        "labels_count": len(status.labels),
    }


async def classify(classifier: Classifier, image: bytes, model: str) -> dict[str, Any]:
    """One picture, dropped on the page, through the same path as over gRPC."""
    try:
        response = await classifier.answer(pb.ClassifyRequest(model=model, images=[image]), "page", None)
    except ServiceError as error:
        return {"error": {"code": code_pb2.Code.Name(error.code.value[0]), "message": str(error)}}
    result, served = response.results[0], response.model
    timings = response.timings
    return {
        "model": served.name,
        "version": served.version,
        "architecture": served.architecture,
        "precision": served.precision,
        "device": served.device,
        "untrained": served.untrained,
        "labels": [
            {"index": label.index, "name": label.name, "probability": label.probability} for label in result.labels
        ],
        "timings": {name: getattr(timings, name) for name in ("decode", "queue", "compute", "respond", "total")},
        "batch_size": result.batch_size,
    }
