"""Certificates: an engine in a compute precision, held against the logits of the reference on the same images."""

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    from resserve.golden import Logits

# Every version has its certificate: ONNX Runtime's own CPU provider runs wherever ResServe does.
REFERENCE_ENGINE = "onnxruntime-cpu"

_Keyword = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
_Share = Annotated[float, Field(ge=0, le=1)]


class Record(BaseModel):
    """Facts about a version that decide no answer: fields of a newer ResServe are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False, defer_build=True)


class Estimate(Record):
    """A figure measured on a sample, with its 95 % interval."""

    value: float
    low: float
    high: float

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.low > self.high:
            raise ValueError("low must not be greater than high")
        return self


class Accuracy(Record):
    """Top-1 accuracy on labelled images, 0 to 1, and its distance from float32 on the same images."""

    images: int = Field(gt=0)
    data: str = Field(description="the labelled images")
    top1: Estimate
    difference: Estimate | None = Field(default=None, description="top1 minus float32's; negative is worse")


class CertificateEntry(Record):
    """One comparison with the golden or other images, at one batch size."""

    batch: int = Field(gt=0)
    images: int = Field(gt=0)
    max_abs_diff: float = Field(ge=0, description="largest difference of logits")
    top1_agreement: _Share
    decided_images: int | None = Field(
        default=None, ge=0, description="images whose first two reference logits are over twice the drift apart"
    )
    decided_agreement: _Share | None = Field(default=None, description="top-1 agreement on these alone")


class Certificate(Record):
    """One engine in one compute precision against the reference: what was compared, and the bounds of every replay."""

    engine: _Keyword
    compute: _Keyword = Field(description="compute precision: fp32, bf16, fp16, int8, …")
    status: Literal["accepted", "refused"] = "accepted"
    reason: str = Field(default="", description="why it was refused")
    tolerance: float = Field(gt=0, description="largest allowed difference of logits")
    min_top1_agreement: _Share
    entries: list[CertificateEntry]
    accuracy: Accuracy | None = None
    instruction_set: str = Field(default="", description="of the machine that measured, e.g. amx_bf16")
    engine_version: str = ""
    emulated: bool = Field(default=False, description="measured by PyTorch in this precision, in place of the engine")

    @model_validator(mode="after")
    def _check_reason(self) -> Self:
        if (self.status == "refused") != bool(self.reason):
            raise ValueError("reason must be given where status is refused, and only there")
        return self

    def check(self, logits: "Logits", golden: "Logits", *, batch: int) -> CertificateEntry:
        """Hold logits computed anew against the reference's.

        Args:
            logits: float32 [M, classes], computed `batch` images at a time by this certificate's engine.
            golden: float32 [M, classes], the reference's.
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
            where=f"{self.engine} in {self.compute} at batch {batch}",
        )
        return CertificateEntry(batch=batch, images=len(golden), max_abs_diff=difference, top1_agreement=agreement)
