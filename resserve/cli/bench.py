"""`resserve bench`."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


class Arrivals(StrEnum):
    """How an open loop's requests are spaced."""

    poisson = "poisson"
    constant = "constant"


Images = Annotated[
    Path | None,
    typer.Option(exists=True, file_okay=False, help="Pictures to send (default: photos of 500 x 375 pixels)."),
]
ObjectiveText = Annotated[
    str | None, typer.Option(metavar="p99=50ms", help="Find the rate that the service takes within this.")
]
AgainstRaw = Annotated[
    bool, typer.Option("--against-raw", help="Hold it against plain ONNX Runtime, measured before and after.")
]
Repository = Annotated[Path, typer.Option(help="With --against-raw: where the served version lies.")]
Metrics = Annotated[str, typer.Option(help="The service's metrics, to check the figures against; empty: none.")]
Rate = Annotated[float | None, typer.Option(min=0.01, help="Open loop: requests per second, whatever comes back.")]


def command(
    target: Annotated[str, typer.Argument(help="The service's gRPC address.")] = "127.0.0.1:8001",
    model: Annotated[str, typer.Option(help="May be left out while one model is served.")] = "",
    concurrency: Annotated[int, typer.Option(min=1, help="Closed loop: callers that wait for their answer.")] = 8,
    rate: Rate = None,
    arrivals: Annotated[Arrivals, typer.Option(help="With --rate.")] = Arrivals.poisson,
    seconds: Annotated[float, typer.Option(min=0.1, help="What counts; the warm-up comes before.")] = 20.0,
    warmup: Annotated[float, typer.Option(min=0, help="Seconds that do not count.")] = 3.0,
    deadline: Annotated[float, typer.Option(min=0.001, help="Seconds that each request gives the service.")] = 10.0,
    images: Images = None,
    objective: ObjectiveText = None,
    against_raw: AgainstRaw = False,
    repository: Repository = Path("weights"),
    metrics: Metrics = "http://127.0.0.1:8002/metrics",
    processes: Annotated[int, typer.Option(min=1, help="Generator processes.")] = 1,
    channels: Annotated[int, typer.Option(min=1, help="Connections of each process.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="The same seed sends the same pictures at the same times.")] = 0,
    csv: Annotated[Path | None, typer.Option(dir_okay=False, help="Write every request to this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all figures as JSON.")] = False,
) -> None:
    """Load a running service and measure it."""
    if objective is not None and rate is not None:
        raise typer.BadParameter("--objective looks for the rate itself: leave --rate out.")
    if rate is None and processes > concurrency:
        raise typer.BadParameter("--processes cannot be more than --concurrency: each needs a caller.")
    from bench.load.capacity import Objective
    from bench.load.driver import Plan
    from bench.run.session import Session, run, write_csv
    from resserve.addresses import grpc_target

    plan = Plan(
        seconds=warmup + seconds,
        warmup=warmup,
        rate=rate,
        arrivals=arrivals.value,
        concurrency=concurrency,
        deadlines=(deadline, deadline),
        processes=processes,
        channels=channels,
        seed=seed,
    )
    report = run(
        Session(
            address=grpc_target(target),
            plan=plan,
            model=model,
            images=images,
            metrics=metrics,
            objective=None if objective is None else Objective.parse(objective),
            repository=repository if against_raw else None,
        )
    )
    if csv is not None:
        write_csv(csv, report.result)
    if as_json:
        print(json.dumps(report.summary(), indent=2))
    else:
        from bench.run.tables import print_report

        print_report(Console(), report)
