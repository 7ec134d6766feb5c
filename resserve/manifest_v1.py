"""Schema 1 of the manifest, as ResServe 0.1 wrote it, and its translation into schema 2. It never changes again."""

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class _InputSpec(_Frozen):
    height: int = Field(gt=0)
    width: int = Field(gt=0)
    resize: int = Field(gt=0)
    interpolation: Literal["bilinear", "bicubic"]
    layout: Literal["NHWC"]
    dtype: Literal["uint8"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class _Entry(_Frozen):
    provider: str
    batch: int = Field(gt=0)
    max_abs_diff: float = Field(ge=0)
    top1_agreement: float = Field(ge=0, le=1)


class _Certificate(_Frozen):
    images: int = Field(ge=8)
    tolerance: float = Field(gt=0)
    min_top1_agreement: float = Field(ge=0, le=1)
    entries: list[_Entry]


class _Manifest(_Frozen):
    schema_version: Literal[1]
    name: str
    version: int = Field(gt=0)
    architecture: str
    precision: Literal["fp32", "fp16", "int8"]
    untrained: bool
    parameters: int = Field(gt=0)
    multiply_adds: int = Field(gt=0)
    input: _InputSpec
    labels: list[str] = Field(min_length=1)
    metrics: dict[str, float]
    metrics_data: str
    files: dict[str, _Digest]
    checkpoint_sha256: _Digest | None
    tools: dict[str, str]
    created: str
    certificate: _Certificate
    digest: _Digest


def as_schema_2(data: bytes) -> dict[str, Any]:
    """The fields of `resserve.manifest.Manifest` for a manifest of schema 1.

    The one certificate is ONNX Runtime's on the CPU, the only engine that exports measured then.

    Raises:
        pydantic.ValidationError: it breaks schema 1.
    """
    old = _Manifest.model_validate_json(data, strict=True)
    same = {
        "name", "version", "architecture", "precision", "untrained", "parameters", "multiply_adds", "input", "labels",
        "metrics_data", "tools", "created", "digest",
    }  # fmt: skip
    provenance = {"kind": "checkpoint", "sha256": old.checkpoint_sha256} if old.checkpoint_sha256 else None
    entries = [
        {**entry.model_dump(exclude={"provider"}), "images": old.certificate.images}
        for entry in old.certificate.entries
    ]
    certificate = {
        "engine": "onnxruntime-cpu",
        "compute": old.precision,
        "tolerance": old.certificate.tolerance,
        "min_top1_agreement": old.certificate.min_top1_agreement,
        "entries": entries,
        "engine_version": old.tools.get("onnxruntime", ""),
    }
    return {
        **old.model_dump(include=same),
        # A loss that was not finite could be written then; it is no JSON.
        "metrics": {name: value for name, value in old.metrics.items() if math.isfinite(value)},
        "files": {name: {"sha256": digest} for name, digest in old.files.items()},
        "provenance": provenance,
        "certificates": [certificate],
    }
