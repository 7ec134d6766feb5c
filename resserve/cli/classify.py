"""`resserve classify`."""

import glob
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.bar import Bar
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from resserve import DEFAULT_TARGET
from resserve.cli.figures import milliseconds
from resserve.errors import ResServeError

if TYPE_CHECKING:
    from resserve.client import Image, Prediction
    from resserve.errors import ClassifyError

_MAGIC = re.compile(r"[*?\[]")


def command(
    photos: Annotated[
        list[str],
        typer.Argument(metavar="PHOTO…", help="Files, folders, patterns like 'photos/*.jpg', or - for standard input."),
    ],
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
    if photos.count("-") > 1:
        raise typer.BadParameter("Standard input can be read once.", param_hint="PHOTO")
    named = list(_find(photos))
    with Client(target) as client:
        images = (image for _, image in named)
        stream = client.classify_stream(images, model=name, version=version, top_k=top)
        answers = dict(_show_progress(stream, len(named)))
    ordered = [(photo, answers[index]) for index, (photo, _) in enumerate(named)]
    if json_:
        print(json.dumps([_as_json(*pair) for pair in ordered], indent=2))
    else:
        _show(ordered)
    if not all(isinstance(answer, Prediction) for _, answer in ordered):
        raise typer.Exit(1)


def _find(photos: Iterable[str]) -> "Iterator[tuple[str, Image]]":
    """Every photo that is meant, with its name."""
    from resserve.images.folder import find_images, shown

    for photo in photos:
        path = Path(photo)
        if photo == "-":
            yield photo, sys.stdin.buffer
        elif path.is_dir():
            found = find_images(path)
            others = f"left out: {found.account()}" if found.left_out else ""
            if not found.images:
                raise ResServeError(f"{shown(path)} holds no images{others and f' ({others})'}; name another folder.")
            if others:
                typer.echo(f"{shown(path)}: {others}", err=True)
            yield from ((shown(image), image) for image in found.images)
        elif _MAGIC.search(photo) and not path.exists():
            matches = sorted(glob.glob(photo, recursive=True))  # noqa: PTH207 - Path takes no absolute pattern
            if not matches:
                raise ResServeError(f"No file matches {photo}; name files or a folder.")
            yield from _find(matches)
        else:
            yield shown(path), path


_Answers = Iterable[tuple[int, "Prediction | ClassifyError"]]


def _show_progress(answers: _Answers, total: int) -> _Answers:
    console = Console(stderr=True)
    hidden = total < 2 or not console.is_terminal
    return track(answers, "classifying", total=total, console=console, transient=True, disable=hidden)


def _name_and_version(model: str | None) -> tuple[str | None, int | None]:
    name, at, version = (model or "").partition("@")
    if at and not (name and version.isdecimal() and int(version)):
        raise typer.BadParameter(f"{model!r} is not NAME or NAME@VERSION.", param_hint="--model")
    return name or None, int(version) if at else None


def _as_json(photo: str, answer: "Prediction | ClassifyError") -> dict[str, Any]:
    if isinstance(answer, Exception):
        return {"photo": photo, "error": str(answer)}
    fields = asdict(answer)
    del fields["logits"]
    return {"photo": photo, **fields}


def _show(answers: "Sequence[tuple[str, Prediction | ClassifyError]]") -> None:
    console = Console(highlight=False)
    for photo, answer in answers:
        title = f"[bold]{escape(photo)}[/]"
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
