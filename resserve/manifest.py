"""The contract between export and service: what `weights/<model>/<version>/manifest.json` says."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from resserve.errors import ResServeError
from resserve.files import MANIFEST, check_digest

if TYPE_CHECKING:
    from resserve.golden import Logits

_UNSIGNED = "0" * 64

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class InputSpec(_Frozen):
    """How an image becomes the model's input: shorter side to `resize`, then the centre crop, as RGB uint8 [H, W, 3].

    Scaling to [0, 1] and normalisation are in the graph; `mean` and `std` record what they are.
    """

    height: int = Field(gt=0)
    width: int = Field(gt=0)
    resize: int = Field(gt=0, description="pixels of the shorter side before the crop")
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    layout: Literal["NHWC"] = "NHWC"
    dtype: Literal["uint8"] = "uint8"
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class CertificateEntry(_Frozen):
    """ONNX Runtime against PyTorch on the golden images, for one provider and batch size."""

    provider: str
    batch: int = Field(gt=0)
    max_abs_diff: float = Field(ge=0, description="largest difference of logits")
    top1_agreement: float = Field(ge=0, le=1)


class Certificate(_Frozen):
    """What was compared, and the bounds a replay must keep to as well."""

    images: int = Field(ge=8)
    tolerance: float = Field(gt=0, description="largest allowed difference of logits")
    min_top1_agreement: float = Field(ge=0, le=1)
    entries: list[CertificateEntry]

    def check(self, logits: "Logits", golden: "Logits", *, provider: str, batch: int) -> CertificateEntry:
        """Hold logits computed anew on the golden images against PyTorch's.

        Args:
            logits: float32 [M, classes], computed `batch` images at a time by `provider`.
            golden: float32 [M, classes], PyTorch's.
            provider: the ONNX Runtime execution provider that computed them.
            batch: images per run.

        Raises:
            ResServeError: they drift further than this certificate allows.
        """
        from resserve.golden import hold  # needs numpy, which a service that starts need not wait for

        difference, agreement = hold(
            logits,
            golden,
            tolerance=self.tolerance,
            min_agreement=self.min_top1_agreement,
            where=f"{provider} at batch {batch}",
        )
        return CertificateEntry(provider=provider, batch=batch, max_abs_diff=difference, top1_agreement=agreement)


class Manifest(_Frozen):
    """One model version. `files` holds the SHA-256 of every other file of the version."""

    schema_version: Literal[1] = 1
    name: str
    version: int = Field(gt=0)
    architecture: str
    precision: Literal["fp32", "fp16", "int8"]
    untrained: bool = False
    parameters: int = Field(gt=0)
    multiply_adds: int = Field(gt=0, description="per image")
    input: InputSpec
    labels: list[str] = Field(min_length=1)
    metrics: dict[str, float] = Field(default_factory=dict, description="e.g. top1, 0 to 1")
    metrics_data: str = Field(default="", description="the data that metrics were measured on")
    files: dict[str, Digest]
    checkpoint_sha256: Digest | None = None
    tools: dict[str, str] = Field(description="tool to version")
    created: str = Field(description="ISO 8601, UTC")
    certificate: Certificate
    digest: Digest = Field(default=_UNSIGNED, description="SHA-256 of this file with 64 zeros in this place")


def read_manifest(directory: Path) -> Manifest:
    """Read and validate a version's manifest, its own digest included.

    Raises:
        ResServeError: the file is missing, is not JSON, breaks the schema, or was altered.
    """
    path = directory / MANIFEST
    try:
        data = path.read_bytes()
        manifest = Manifest.model_validate_json(data)
    except OSError as error:
        raise ResServeError(
            f"{directory} is not a model version: cannot read {path.name} ({error.strerror})."
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ResServeError(
            f"{path} is not a valid manifest: {where}: {first['msg']}; export the model again."
        ) from None
    if data != _signed(manifest):
        raise ResServeError(f"{path} was altered: its own digest does not match; export the model again.")
    return manifest


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Sign the manifest and write it: last, when every file it names is there."""
    (directory / MANIFEST).write_bytes(_signed(manifest))


def _signed(manifest: Manifest) -> bytes:
    unsigned = manifest.model_copy(update={"digest": _UNSIGNED})
    digest = hashlib.sha256(_render(unsigned)).hexdigest()
    return _render(manifest.model_copy(update={"digest": digest}))


def _render(manifest: Manifest) -> bytes:
    return (json.dumps(manifest.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n").encode()


def check_digests(directory: Path, manifest: Manifest) -> None:
    """Compare every file with its digest.

    Raises:
        ResServeError: naming the first file that is missing or altered.
    """
    for name, expected in manifest.files.items():
        check_digest(directory / name, expected)
