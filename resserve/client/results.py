"""What the client returns."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from resserve.v1 import classifier_pb2 as pb


@dataclass(frozen=True, slots=True)
class Label:
    """One class: its index in the model's output, its name, its probability (0 to 1)."""

    index: int
    name: str
    probability: float


@dataclass(frozen=True, slots=True)
class Timings:
    """Where an image's time in the service went, in seconds; the four parts add up to `total`.

    Attributes:
        decode: from the encoded bytes to the model's pixels.
        queue: every wait between arrival and the start of the run.
        compute: the batch in ONNX Runtime.
        respond: from the end of the run to the finished answer.
        total: from arrival at the service to the finished answer.
    """

    decode: float
    queue: float
    compute: float
    respond: float
    total: float


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model version as it runs.

    Attributes:
        precision: fp32, fp16 or int8.
        device: cpu or cuda:0.
        provider: ONNX Runtime's execution provider.
        untrained: the weights are random; good for latency work only.
    """

    name: str
    version: int
    architecture: str
    precision: str
    device: str
    provider: str
    untrained: bool


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """The answer for one image.

    Attributes:
        labels: most probable first.
        logits: float32 [classes] where they were asked for, else None.
        batch_size: images in the batch that this one ran in.
    """

    model: ServedModel
    labels: tuple[Label, ...]
    logits: npt.NDArray[np.float32] | None
    timings: Timings
    batch_size: int


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """A model version that the service knows, whatever its state.

    Attributes:
        reason: why it is not ready, else empty.
        multiply_adds: per image.
        metrics: measured at training on `metrics_data`, e.g. top1 (0 to 1).
        plan: how the worker runs it: lanes, threads, batch sizes.
    """

    model: ServedModel
    state: Literal["loading", "ready", "failed", "unknown"]
    reason: str
    parameters: int
    multiply_adds: int
    input_height: int
    input_width: int
    labels: tuple[str, ...]
    metrics: Mapping[str, float]
    metrics_data: str
    plan: str


_STATES: Mapping[int, Literal["loading", "ready", "failed"]] = {
    pb.MODEL_STATE_LOADING: "loading",
    pb.MODEL_STATE_READY: "ready",
    pb.MODEL_STATE_FAILED: "failed",
}


def served_model(message: pb.ServedModel) -> ServedModel:
    """Read the message."""
    return ServedModel(
        name=message.name,
        version=message.version,
        architecture=message.architecture,
        precision=message.precision,
        device=message.device,
        provider=message.provider,
        untrained=message.untrained,
    )


def prediction(model: ServedModel, message: pb.ImageResult) -> Prediction:
    """Read the message of an image that was classified."""
    timings = message.timings
    return Prediction(
        model=model,
        labels=tuple(Label(label.index, label.name, label.probability) for label in message.labels),
        logits=np.array(message.logits, np.float32) if message.logits else None,
        timings=Timings(timings.decode, timings.queue, timings.compute, timings.respond, timings.total),
        batch_size=message.batch_size,
    )


def model_status(message: pb.ModelStatus) -> ModelStatus:
    """Read the message."""
    return ModelStatus(
        model=served_model(message.model),
        state=_STATES.get(message.state, "unknown"),
        reason=message.reason,
        parameters=message.parameters,
        multiply_adds=message.multiply_adds,
        input_height=message.input_height,
        input_width=message.input_width,
        labels=tuple(message.labels),
        metrics=dict(message.metrics),
        metrics_data=message.metrics_data,
        plan=message.plan,
    )
