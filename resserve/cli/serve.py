"""`resserve serve`."""

from pathlib import Path
from typing import Annotated, Literal

from typer import Option


def command(
    repository: Annotated[Path | None, Option(help="The folder of all models.  [default: weights]")] = None,
    model: Annotated[
        list[str] | None,
        Option(metavar="NAME[@VERSION]", help="Serve this model; may be repeated.  [default: each one's newest]"),
    ] = None,
    device: Annotated[
        Literal["auto", "cpu", "cuda"] | None, Option(help="auto takes CUDA where a model runs on it.  [default: auto]")
    ] = None,
    host: Annotated[str | None, Option(help="Address of both ports.  [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, Option(help="gRPC; 0 takes a free one.  [default: 8001]", min=0, max=65535)] = None,
    http_port: Annotated[
        int | None,
        Option(help="Page, metrics and health; 0 takes a free one.  [default: 8002]", min=0, max=65535),
    ] = None,
    frontends: Annotated[
        str | None,
        Option(metavar="N|auto", help="Processes that take calls and decode; auto: by device and cores.  [default: 1]"),
    ] = None,
    shutdown_delay: Annotated[
        float | None,
        Option(help="Seconds for balancers to notice that it stops, while calls are answered.  [default: 0]", min=0),
    ] = None,
    ready_file: Annotated[
        Path | None, Option(help="Write the addresses there, as JSON, once the service is ready.", dir_okay=False)
    ] = None,
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"] | None, Option(help="The least that is logged.  [default: info]")
    ] = None,
    log_format: Annotated[
        Literal["auto", "console", "json"] | None,
        Option(help="auto is console on a terminal, else JSON.  [default: auto]"),
    ] = None,
) -> None:
    """Serve until SIGTERM or Ctrl-C. What is not given here comes from RESSERVE_*, resserve.toml or the default."""
    flags = {**locals(), "model": model or None}

    from service.main import serve

    serve(**flags)
