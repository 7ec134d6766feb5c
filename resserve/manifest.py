"""The contract between export and service: the content of `weights/<model>/<version>/manifest.json`, schema 2.

Schema 1 is read too (`resserve.manifest_v1`) and becomes a `Manifest` like any other; only schema 2 is written.

Unknown fields are refused in `input` and `output` and ignored everywhere else. These two decide the answer: a service
that overlooked one of their fields would answer wrongly without a sign. The rest is a record: a newer ResServe may add
to it, and the services that do not know the addition yet go on serving. An addition outside the two that changes
answers, and any field that gets another meaning, needs a higher `schema_version`, which older services refuse.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator, model_validator

from resserve.certificate import REFERENCE_ENGINE, Certificate, Record
from resserve.errors import ResServeError
from resserve.files import GOLDEN, MANIFEST, MODEL, check_digest, sha256_file

SCHEMA = 2

_MAX_BYTES = 16 * 2**20  # 1,000 labels are 20 kB; a file of gigabytes must not be read to find that it is no manifest
_NO_DIGEST = "0" * 64
_PLAIN = re.compile(r"[\w.-]{1,80}", re.ASCII)

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$")]
"""A file directly in the version's folder: never a path."""
Byte = Annotated[int, Field(ge=0, le=255)]
Triple = tuple[float, float, float]


class _Spec(BaseModel):
    """Facts that decide the answer: every field must be understood."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)


class InputSpec(_Spec):
    """The way from a picture to the graph's input tensor.

    The picture becomes RGB, its shorter side `resize` pixels, and its centre is cut out: uint8 [height, width, 3].
    A uint8 tensor takes these pixels as they are; scale, mean and std then record the graph's own normalisation, where
    it is known. A float tensor takes (pixel * scale - mean) / std. The defaults are those of ResServe's own graphs.
    """

    name: str = Field(default="images", min_length=1, description="of the tensor")
    dtype: Literal["uint8", "float32", "float16"] = "uint8"
    layout: Literal["NHWC", "NCHW"] = "NHWC"
    channels: Literal["RGB", "BGR"] = "RGB"
    batch: int | None = Field(default=None, gt=0, description="images per run; null where any number may be run")
    height: int = Field(gt=0)
    width: int = Field(gt=0)
    resize: int = Field(gt=0, description="pixels of the shorter side before the crop")
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    background: tuple[Byte, Byte, Byte] | None = Field(
        default=None, description="RGB behind transparent pictures; null drops alpha and shows the colours below it"
    )
    scale: float | None = Field(default=1 / 255, gt=0)
    mean: Triple | None = Field(description="of scaled values, in the order of `channels`")
    std: Triple | None = Field(description="of the same")

    @field_validator("std")
    @classmethod
    def _check_std(cls, std: Triple | None) -> Triple | None:
        if std is not None and min(std) <= 0:
            raise ValueError("a standard deviation must be greater than 0")
        return std

    @model_validator(mode="after")
    def _check_normalisation(self) -> Self:
        missing = [name for name in ("scale", "mean", "std") if getattr(self, name) is None]
        if self.dtype != "uint8" and missing:
            raise ValueError(f"{missing[0]} must be given for a {self.dtype} tensor")
        return self


class OutputSpec(_Spec):
    """The way from the graph's output tensor to probabilities. The defaults are those of ResServe's own graphs."""

    name: str = Field(default="logits", min_length=1, description="of the tensor")
    kind: Literal["logits", "probabilities"] = "logits"
    class_axis: int = Field(default=1, description="of the tensor; the other axes after the batch have length 1")
    temperature: float = Field(
        default=1.0, gt=0, description="logits, or logarithms of probabilities, are divided by it before the softmax"
    )


class Provenance(Record):
    """Chain of custody: the file that the weights came from, and how they were made, as far as it is known."""

    kind: Literal["checkpoint", "state_dict", "onnx"]
    file: str = Field(default="", description="its name, without folders")
    sha256: Digest
    data_fingerprint: str = Field(default="", description="of the training data")
    epoch: int | None = Field(default=None, ge=0, description="whole epochs trained")
    recipe: dict[str, JsonValue] = Field(default_factory=dict)
    shortcut_padding: Literal["behind", "both"] | None = Field(
        default=None, description="zero channels of option A's shortcuts: all behind, or half on both sides"
    )


class FileRecord(Record):
    """A file of the version. Its size tells a copy under way from a whole one without reading it."""

    sha256: Digest
    bytes: int | None = Field(default=None, ge=0, description="null in versions of schema 1")

    @classmethod
    def of(cls, path: Path) -> Self:
        """The record of a file as it is now."""
        return cls(sha256=sha256_file(path), bytes=path.stat().st_size)


class Manifest(Record):
    """One model version."""

    schema_version: Literal[2] = 2
    name: str = Field(min_length=1)
    version: int = Field(gt=0)
    architecture: str
    arguments: dict[str, JsonValue] = Field(default_factory=dict, description="of the architecture, e.g. shortcut")
    precision: Literal["fp32", "fp16", "int8"] = Field(description="of the weights in the file")
    untrained: bool = False
    unverified: bool = Field(default=False, description="brought in from elsewhere and never measured on data")
    parameters: int = Field(ge=0)
    multiply_adds: int = Field(ge=0, description="per image; 0 where they were not counted")
    input: InputSpec
    output: OutputSpec = Field(default_factory=OutputSpec)
    labels: list[str] = Field(min_length=1)
    metrics: dict[str, float] = Field(default_factory=dict, description="e.g. top1, 0 to 1")
    metrics_data: str = Field(default="", description="the data that metrics were measured on")
    files: dict[FileName, FileRecord] = Field(description="every file but the manifest and the signature")
    provenance: Provenance | None = Field(default=None, description="null for random weights")
    tools: dict[str, str] = Field(description="tool to version")
    created: str = Field(description="time of the export, ISO 8601, UTC")
    reference: Literal["pytorch", "onnxruntime"] = Field(default="pytorch", description="computed the golden logits")
    certificates: list[Certificate] = Field(min_length=1)
    signature: FileName | None = Field(default=None, description="file of the detached signature, beside this one")
    digest: Digest = Field(default=_NO_DIGEST, description="SHA-256 of this file with 64 zeros in this place")

    @field_validator("files")
    @classmethod
    def _check_files(cls, files: dict[str, FileRecord]) -> dict[str, FileRecord]:
        for name in (MODEL, GOLDEN):
            if name not in files:
                raise ValueError(f"{name} is missing")
        if MANIFEST in files:
            raise ValueError(f"{MANIFEST} cannot hold its own digest among them")
        return files

    @field_validator("certificates")
    @classmethod
    def _check_certificates(cls, certificates: list[Certificate]) -> list[Certificate]:
        if len({(one.engine, one.compute) for one in certificates}) < len(certificates):
            raise ValueError("an engine has two of one compute precision")
        return certificates

    @model_validator(mode="after")
    def _check_first_certificate(self) -> Self:
        first = self.certificate
        if (first.engine, first.compute) != (REFERENCE_ENGINE, self.precision):
            raise ValueError(f"certificates must begin with that of {REFERENCE_ENGINE} in {self.precision}")
        if first.status == "refused" or first.emulated:
            raise ValueError("the first of certificates must be accepted and really measured")
        return self

    @property
    def certificate(self) -> Certificate:
        """The first certificate, which every version has: ONNX Runtime's on the CPU, in the file's own precision."""
        return self.certificates[0]

    def certificate_for(self, engine: str, compute: str) -> Certificate | None:
        """The certificate that an engine is held to in a compute precision, accepted or refused; None without one.

        An engine without a certificate of its own is held to the first certificate's bounds in that one's precision:
        the bounds of float32 are those of rounding, whichever engine rounds.
        """
        for certificate in self.certificates:
            if (certificate.engine, certificate.compute) == (engine, compute):
                return certificate
        return self.certificate if compute == self.certificate.compute else None


class _Head(BaseModel):
    """The fields that every schema has."""

    model_config = ConfigDict(defer_build=True)

    schema_version: int = Field(gt=0)
    digest: Digest


def read_manifest(directory: Path) -> Manifest:
    """Read and validate a version's manifest, its own digest included.

    Raises:
        ResServeError: the file is missing, is not JSON, is of a newer schema, breaks its schema, or was altered.
    """
    path = directory / MANIFEST
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ResServeError(
            f"{directory} is not a model version: cannot read {path.name} ({error.strerror})."
        ) from None
    if len(data) > _MAX_BYTES:
        raise ResServeError(f"{path} is not a manifest: it has over {_MAX_BYTES >> 20} MiB; export the model again.")
    try:
        head = _Head.model_validate_json(data, strict=True)
        if head.schema_version > SCHEMA:
            raise ResServeError(
                f"{path} is of schema {head.schema_version}, and this ResServe reads schemas 1 to {SCHEMA}: "
                "upgrade ResServe, or export the model again with this one."
            )
        if head.schema_version == 1:
            from resserve.manifest_v1 import as_schema_2  # a service whose versions are newer never loads it

            manifest = Manifest.model_validate(as_schema_2(data))
        else:
            manifest = Manifest.model_validate_json(data, strict=True)
    except ValidationError as error:
        raise ResServeError(f"{path} is not a valid manifest: {_first_mistake(error)}.") from None
    if head.digest != _digest(data, head.digest):
        raise ResServeError(f"{path} was altered: its own digest does not match; export the model again.")
    return manifest


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Write the manifest with its own digest: last, when every file it names is there."""
    blank = _render(manifest.model_copy(update={"digest": _NO_DIGEST}))
    whole = manifest.model_copy(update={"digest": _digest(blank, _NO_DIGEST)})
    (directory / MANIFEST).write_bytes(_render(whole))


def check_digests(directory: Path, manifest: Manifest) -> None:
    """Compare every file with its digest.

    Raises:
        ResServeError: naming the first file that is missing or altered.
    """
    for name, record in manifest.files.items():
        check_digest(directory / name, record.sha256)


def _render(manifest: Manifest) -> bytes:
    return (json.dumps(manifest.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n").encode()


def _digest(data: bytes, digest: str) -> str:
    """The SHA-256 of a manifest's bytes, with zeros for the digest that stands last in them."""
    before, _, after = data.rpartition(digest.encode())
    return hashlib.sha256(before + _NO_DIGEST.encode() + after).hexdigest()


def _first_mistake(error: ValidationError) -> str:
    """The field, what is wrong with it and what to do, in one line of bounded length whatever the file holds."""
    first = error.errors(include_url=False, include_input=False)[0]
    parts = (part if _PLAIN.fullmatch(part) else ascii(part)[:80] for part in map(str, first["loc"]))
    where = ".".join(parts) or "the file"
    if first["type"] == "extra_forbidden":
        return f"{where} is unknown to this ResServe; upgrade it, or export the model again"
    return f"{where}: {first['msg'].removeprefix('Value error, ')}; export the model again"
