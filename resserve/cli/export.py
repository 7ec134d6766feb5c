"""`resserve export`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from resserve.manifest import read_manifest


class Precision(StrEnum):
    """What weights and activations are computed in."""

    fp32 = "fp32"
    int8 = "int8"


def command(
    source: Annotated[
        str, typer.Argument(metavar="CHECKPOINT|ARCH", help="A checkpoint; with --untrained, a network's name.")
    ],
    name: Annotated[str, typer.Option(help="The model's name in the repository.")],
    repository: Annotated[Path, typer.Option(help="The folder of all models.")] = Path("weights"),
    precision: Annotated[Precision, typer.Option(help="int8 needs --golden for a checkpoint.")] = Precision.fp32,
    golden: Annotated[
        Path | None,
        typer.Option(
            help="A folder of images to certify with (default: the photos inside scikit-learn).",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    background: Annotated[
        str | None,
        typer.Option(
            metavar="COLOUR", help="Behind transparent pictures: white, #RRGGBB, … (default: alpha is dropped)."
        ),
    ] = None,
    untrained: Annotated[bool, typer.Option("--untrained", help="Random weights, to measure latency.")] = False,
    size: Annotated[int | None, typer.Option(min=1, help="Side of the input, with --untrained (default: 224).")] = None,
    classes: Annotated[int | None, typer.Option(min=1, help="With --untrained (default: 1000).")] = None,
) -> None:
    """Export a checkpoint as a certified model version."""
    if not untrained and (size or classes):
        raise typer.BadParameter("--size and --classes are the checkpoint's own; they go with --untrained only.")
    if untrained and background:
        raise typer.BadParameter("--background is for a checkpoint.")
    colour = _colour(background) if background else None
    with Console(stderr=True).status(f"Exporting {source} as {name}"):
        from export.export import export_checkpoint, export_untrained

        options = {"name": name, "repository": repository, "precision": precision.value, "golden": golden}
        if untrained:
            version = export_untrained(source, size=size or 224, classes=classes or 1000, **options)
        else:
            version = export_checkpoint(Path(source), background=colour, **options)
    certificate = read_manifest(version).certificate
    worst = max(entry.max_abs_diff for entry in certificate.entries)
    print(f"{version}: logits within {worst:.2g} of PyTorch's (allowed {certificate.tolerance:.2g})")


def _colour(text: str) -> tuple[int, int, int]:
    from PIL import ImageColor

    try:
        red, green, blue, *_ = ImageColor.getrgb(text)
    except ValueError:
        message = f"{text!r} is no colour: name one, or write #RRGGBB."
        raise typer.BadParameter(message, param_hint="--background") from None
    return red, green, blue
