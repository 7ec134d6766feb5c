"""Everything an operator may set: flag, else environment `RESSERVE_*`, else `resserve.toml`, else the default."""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from math import inf
from pathlib import Path
from typing import Any, Literal, get_origin

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from resserve.addresses import listening_host
from resserve.cores import usable_cores
from resserve.errors import ResServeError
from resserve.runtime import check_onnxruntime
from service.system.environment import PREFIX, own

_FILE = "resserve.toml"
# gRPC counts in milliseconds, in 32 bits.
_MAX_SECONDS = 2_000_000

_FORMS = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": 'a,b or ["a", "b"]',
}

# Seconds: 0.5 ms to 10 s in steps of about 1.5.
LATENCY_BUCKETS = (
    0.0005, 0.00075, 0.001, 0.0015, 0.0025, 0.004, 0.006, 0.009, 0.0135, 0.02, 0.03, 0.045, 0.07,
    0.1, 0.15, 0.225, 0.35, 0.5, 0.75, 1.1, 1.7, 2.5, 4.0, 6.0, 10.0,
)  # fmt: skip
# Each costs a series for every model version and way that a request can end.
_MAX_BUCKETS = 100


class Settings(BaseSettings):
    """The settings of `resserve serve`. Keyword arguments are the flags that were given."""

    model_config = SettingsConfigDict(toml_file=_FILE, extra="forbid", frozen=True)

    repository: Path = Field(Path("weights"), description="folder of the model versions")
    model: list[str] = Field(default_factory=list, description="NAME or NAME@VERSION to serve; all by default")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: CUDA where a model runs on it")
    host: str = Field("127.0.0.1", description="address of both ports; :: takes IPv4 too")
    port: int = Field(8001, ge=0, le=65535, description="gRPC; 0 takes a free one")
    http_port: int = Field(8002, ge=0, le=65535, description="page, metrics and health; 0 takes a free one")
    frontends: int = Field(1, ge=1, le=64, description="processes that take calls and decode, or auto")
    ready_file: Path | None = Field(None, description="JSON with the addresses, written once the service is ready")
    default_deadline: float = Field(30.0, gt=0, description="seconds, for calls that bring no deadline")
    wait_share: float = Field(0.4, gt=0, le=1, description="part of its deadline that a request may wait")
    order: Literal["deadline", "arrival"] = Field("deadline", description="who is served first")
    lanes: int = Field(0, ge=0, description="batches that run side by side; 0 measures")
    solo_threads: int = Field(0, ge=0, le=1024, description="threads for an image that is alone; 0: all cores")
    max_batch: int = Field(0, ge=0, le=256, description="images in a batch; 0 measures")
    load_seconds: float = Field(300.0, gt=0, description="how long a worker may load before it is replaced")
    shutdown_delay: float = Field(0.0, ge=0, description="seconds of answering calls, not ready, before it drains")
    drain_seconds: float = Field(20.0, gt=0, description="how long a stopping service finishes what it accepted")
    max_connection_age: float = Field(
        0.0, ge=0, le=_MAX_SECONDS, description="seconds until a gRPC client must connect anew; 0: never"
    )
    max_connection_age_grace: float = Field(
        30.0, ge=0, le=_MAX_SECONDS, description="seconds that calls under way have then; 0: until they end"
    )
    latency_buckets: tuple[float, ...] = Field(
        LATENCY_BUCKETS, description="upper bounds of the latency histograms, in seconds, ascending"
    )
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "console", "json"] = Field("auto", description="auto: console on a terminal, else JSON")

    @field_validator("*", mode="before")
    @classmethod
    def _split_list(cls, value: object, info: ValidationInfo) -> object:
        """Lists come from the environment as text: a,b or JSON."""
        field = cls.model_fields[str(info.field_name)]
        if get_origin(field.annotation) is not list or not isinstance(value, str):
            return value
        if value.lstrip().startswith("["):
            try:
                return json.loads(value)
            except ValueError:
                return value  # the error for what is no list says what to write
        return [part.strip() for part in value.split(",") if part.strip()]

    @field_validator("host")
    @classmethod
    def _check_host(cls, value: str) -> str:
        return listening_host(value)

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
        environment = InitSettingsSource(settings_cls, own(os.environ))
        return init_settings, environment, TomlConfigSettingsSource(settings_cls)


def load_settings(**flags: object) -> Settings:
    """Settings from the flags that were given and from everywhere else.

    Raises:
        ResServeError: naming the setting, where its value comes from, the value, and what is allowed.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        return Settings(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        wrong = {str(each["loc"][0]): each for each in error.errors()}  # one error for each setting is enough
        raise ResServeError(" ".join(_explain(name, each, given) for name, each in wrong.items())) from None
    except (ValueError, OSError) as error:
        raise ResServeError(f"{_FILE} cannot be read: {error}.") from None


def _explain(name: str, error: ErrorDetails, flags: Mapping[str, object]) -> str:
    """One sentence on a setting that is wrong."""
    variables = own(os.environ)
    if error["type"] == "extra_forbidden":
        near = get_close_matches(name, Settings.model_fields, n=1)
        if name in variables:
            written, meant = PREFIX + name.upper(), [PREFIX + each.upper() for each in near]
        else:
            written, meant = f"{name} in {_FILE}", near
        return f"{written} is no setting" + (f": did you mean {meant[0]}?" if meant else ".")
    source, value = f"{name} in {_FILE}", error["input"]
    if name in flags:
        source, value = f"--{name.replace('_', '-')}", flags[name]
    elif name in variables:
        source, value = PREFIX + name.upper(), variables[name]
    said = error.get("ctx", {}).get("error") if error["type"] == "value_error" else None
    return f"{source} = {value!r} is not allowed: {said or _describe_form(name)}."


def _describe_form(name: str) -> str:
    """What a setting takes, by its own type, bounds and description."""
    schema: dict[str, Any] = Settings.model_json_schema()["properties"][name]
    if "enum" in schema:
        form = f"one of {', '.join(schema['enum'])}"
    else:
        form = _FORMS.get(schema.get("type", ""), "text") + _describe_bounds(schema)
    about = f" ({schema['description']})" if "description" in schema else ""
    return f"{name} takes {form}{about}"


def _describe_bounds(schema: Mapping[str, Any]) -> str:
    bounds = [
        f"{words} {schema[key]:.10g}"
        for key, words in (("minimum", "at least"), ("exclusiveMinimum", "more than"), ("maximum", "at most"))
        if key in schema
    ]
    return f", {' and '.join(bounds)}" if bounds else ""
