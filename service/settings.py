"""Everything an operator may set: flag, else environment `RESSERVE_*`, else `resserve.toml`, else the default."""

from collections.abc import Sequence
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from resserve.cores import usable_cores
from resserve.errors import ResServeError
from resserve.runtime import check_onnxruntime

# Seconds: 0.5 ms to 10 s in steps of about 1.5.
LATENCY_BUCKETS = (
    0.0005, 0.00075, 0.001, 0.0015, 0.0025, 0.004, 0.006, 0.009, 0.0135, 0.02, 0.03, 0.045, 0.07,
    0.1, 0.15, 0.225, 0.35, 0.5, 0.75, 1.1, 1.7, 2.5, 4.0, 6.0, 10.0,
)  # fmt: skip
# Each costs a series for every model version and way that a request can end.
_MAX_BUCKETS = 100


class Settings(BaseSettings):
    """The settings of `resserve serve`. Keyword arguments are the flags that were given."""

    model_config = SettingsConfigDict(env_prefix="RESSERVE_", toml_file="resserve.toml", extra="forbid", frozen=True)

    repository: Path = Field(Path("weights"), description="folder of the model versions")
    model: list[str] = Field(default_factory=list, description="NAME or NAME@VERSION to serve; all by default")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: CUDA where a model runs on it")
    host: str = Field("127.0.0.1", description="address of both ports")
    port: int = Field(8001, ge=0, le=65535, description="gRPC; 0 takes a free one")
    http_port: int = Field(8002, ge=0, le=65535, description="page, metrics and health; 0 takes a free one")
    frontends: int = Field(1, ge=1, le=64, description="processes that take calls and decode, or auto")
    ready_file: Path | None = Field(None, description="JSON with the addresses, written once the service is ready")
    default_deadline: float = Field(30.0, gt=0, description="seconds, for calls that bring no deadline")
    wait_share: float = Field(0.4, gt=0, le=1, description="part of its deadline that a request may wait")
    order: Literal["deadline", "arrival"] = Field("deadline", description="who is served first")
    lanes: int = Field(0, ge=0, description="batches that run side by side; 0 measures")
    max_batch: int = Field(0, ge=0, le=256, description="images in a batch; 0 measures")
    load_seconds: float = Field(300.0, gt=0, description="how long a worker may load before it is replaced")
    drain_seconds: float = Field(20.0, gt=0, description="how long a stopping service finishes what it accepted")
    latency_buckets: Annotated[tuple[float, ...], NoDecode] = Field(
        LATENCY_BUCKETS, description="upper bounds of the latency histograms, in seconds, ascending"
    )
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "console", "json"] = Field("auto", description="auto: console on a terminal, else JSON")

    @field_validator("frontends", mode="before")
    @classmethod
    def _count_frontends(cls, value: object, info: ValidationInfo) -> object:
        """auto: on a CPU the model takes the cores, and one frontend keeps it busy; a GPU leaves them to decoding."""
        if value != "auto":
            return value
        on_cpu = info.data.get("device") == "cpu" or check_onnxruntime() == "onnxruntime"
        return 1 if on_cpu else max(1, min(8, usable_cores() // 4))

    @field_validator("latency_buckets", mode="before")
    @classmethod
    def _read_buckets(cls, value: object) -> tuple[float, ...]:
        """Read `a,b`, as the environment has it, or a list; JSON is both with brackets."""
        parts = value.strip().removeprefix("[").removesuffix("]").split(",") if isinstance(value, str) else value
        bounds: tuple[float, ...] = ()
        if isinstance(parts, Sequence):
            with suppress(TypeError, ValueError):
                bounds = tuple(map(float, parts))
        ascending = all(below < above for below, above in zip((0.0, *bounds), (*bounds, inf), strict=True))
        if not ascending or not 0 < len(bounds) <= _MAX_BUCKETS:
            raise ValueError(
                f"give 1 to {_MAX_BUCKETS} numbers of seconds, each above the one before, such as 0.1,0.5,1"
            )
        return bounds

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags before the environment before the file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def load_settings(**flags: object) -> Settings:
    """Settings from the flags that were given and from everywhere else.

    Raises:
        ResServeError: naming the setting, the value and what is allowed.
    """
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise ResServeError(
            f"Setting {name} = {first['input']!r} is not allowed: {first.get('ctx', {}).get('error', first['msg'])}."
        ) from None
    except ValueError as error:
        raise ResServeError(f"resserve.toml or the environment cannot be read: {error}.") from None
