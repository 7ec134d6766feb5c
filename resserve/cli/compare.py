"""`resserve compare`."""

import json
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn


def command(
    names: Annotated[
        list[str],
        typer.Argument(metavar="ARCH…", help="Models of the repository; with --untrained, networks, or ARCH-int8."),
    ],
    repository: Annotated[Path, typer.Option(help="The folder of all models.")] = Path("weights"),
    untrained: Annotated[
        bool, typer.Option("--untrained", help="Export the networks with random weights, to runs/compare-weights.")
    ] = False,
    size: Annotated[int, typer.Option(min=1, help="Side of the input, with --untrained.")] = 224,
    data: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="Labelled pictures, one folder a class, to measure accuracy."),
    ] = None,
    objective: Annotated[str, typer.Option(metavar="p99=500ms", help="What an answer in time is.")] = "p99=1s",
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each model.")] = 3,
    seconds: Annotated[float, typer.Option(min=0.5, help="Of each of the three loads of a turn.")] = 10.0,
    out: Annotated[Path, typer.Option(file_okay=False, help="Where report.html and report.json go.")] = Path(
        "runs/compare"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Compare architectures under the same load."""
    if len(set(names)) != len(names):
        raise typer.BadParameter("a model is named twice")
    from bench.compare.report import comparison_table, write_report
    from bench.compare.rounds import Question, compare
    from bench.host.models import Untrained, prepare
    from bench.load.capacity import Objective

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unwinds, so that no service is left behind
    parsed = Objective.parse(objective)
    with Progress(
        TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=Console(stderr=True), transient=True
    ) as progress:
        task = progress.add_task("Preparing", total=len(names) * (rounds + 1) + 1)
        if untrained:
            repository = Path("runs/compare-weights") / str(size)
            prepare(repository, [Untrained.parse(name, size) for name in names])
        question = Question(
            names=names,
            repository=repository,
            objective=parsed,
            data=data,
            rounds=rounds,
            seconds=seconds,
        )
        found = compare(question, lambda step: progress.update(task, advance=1, description=step))
    report = write_report(out, found)
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        console = Console()
        console.print(comparison_table(found))
        console.print(f"The report with its charts: {report}")
