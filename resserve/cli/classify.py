"""`resserve classify`."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.bar import Bar
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from resserve import DEFAULT_TARGET
from resserve.cli.figures import milliseconds

if TYPE_CHECKING:
    from resserve.client import Prediction
    from resserve.errors import ClassifyError


def command(
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTO…", help="JPEG, PNG, WebP, BMP, GIF or TIFF files.")],
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME[@VERSION]", help="May be left out while the service serves one model."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Classes to show for each photo.")] = 5,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON list, an object for each photo.")] = False,
    target: Annotated[str, typer.Option(metavar="HOST:PORT", help="The service's gRPC port.")] = DEFAULT_TARGET,
) -> None:
    """Show every photo's classes; exit code 1 if any photo could not be classified."""
    from resserve.client import Client, Prediction

    name, version = _name_and_version(model)
    with Client(target) as client:
        answers = dict(client.classify_stream(photos, model=name, version=version, top_k=top))
    ordered = [answers[index] for index in range(len(photos))]
    if json_:
        print(json.dumps([_as_json(*pair) for pair in zip(photos, ordered, strict=True)], indent=2))
    else:
        _show(photos, ordered)
    if not all(isinstance(answer, Prediction) for answer in ordered):
        raise typer.Exit(1)


def _name_and_version(model: str | None) -> tuple[str | None, int | None]:
    name, at, version = (model or "").partition("@")
    if at and not (name and version.isdecimal() and int(version)):
        raise typer.BadParameter(f"{model!r} is not NAME or NAME@VERSION.", param_hint="--model")
    return name or None, int(version) if at else None


def _as_json(photo: Path, answer: "Prediction | ClassifyError") -> dict[str, Any]:
    if isinstance(answer, Exception):
        return {"photo": str(photo), "error": str(answer)}
    fields = asdict(answer)
    del fields["logits"]
    return {"photo": str(photo), **fields}


def _show(photos: Sequence[Path], answers: "Sequence[Prediction | ClassifyError]") -> None:
    console = Console(highlight=False)
    for photo, answer in zip(photos, answers, strict=True):
        title = f"[bold]{escape(str(photo))}[/]"
        if isinstance(answer, Exception):
            console.print(f"{title}  [red]{escape(str(answer))}", soft_wrap=True)
            continue
        model, timings = answer.model, answer.timings
        untrained = "  [yellow]untrained: random weights[/]" if model.untrained else ""
        runs = f"{model.name}@{model.version}, {model.architecture} {model.precision} on {model.device}"
        console.print(f"{title}  {escape(runs)}{untrained}", soft_wrap=True)
        table = Table.grid(padding=(0, 2))
        for label in answer.labels:
            bar = Bar(1.0, 0.0, label.probability, width=30, color="green")
            table.add_row(f"{label.probability:7.2%}", bar, escape(label.name))
        console.print(table)
        console.print(
            f"[dim]decode {milliseconds(timings.decode)} + queue {milliseconds(timings.queue)} + compute "
            f"{milliseconds(timings.compute)} (batch of {answer.batch_size}) + respond "
            f"{milliseconds(timings.respond)} = {milliseconds(timings.total)}",
            soft_wrap=True,
        )
