"""`resserve train`: a folder of images to a checkpoint."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer
from typer import Argument, Option

RECIPE = "  [default: the recipe's]"


def command(
    architecture: Annotated[str, Argument(metavar="ARCH", help="A network, e.g. resnet50, vgg16_bn or resnet20.")],
    data: Annotated[
        str,
        Option(help='A folder with train/CLASS/* and val/ or test/ (or only CLASS/*, then split), or "digits".'),
    ],
    out: Annotated[Path, Option(help="Folder for checkpoint.pt, metrics.csv and curves.png.", file_okay=False)],
    recipe: Annotated[
        Literal["modern", "paper"], Option(help="Optimizer, schedule and augmentation: of today, or of He et al. 2015.")
    ] = "modern",
    epochs: Annotated[int | None, Option(min=1, help="Times every training image is seen." + RECIPE)] = None,
    size: Annotated[
        int | None, Option(min=1, help="Side of the square input, in pixels.  [default: the network's]")
    ] = None,
    batch: Annotated[int | None, Option(min=2, help="Images in an optimizer step." + RECIPE)] = None,
    lr: Annotated[float | None, Option(help="The highest learning rate, for this batch." + RECIPE)] = None,
    warmup: Annotated[float | None, Option(min=0, help="Epochs that rise to it." + RECIPE)] = None,
    shortcut: Annotated[Literal["A", "B", "C"] | None, Option(help="Shortcuts of a residual network.")] = None,
    mirror: Annotated[
        bool | None,
        Option("--mirror/--no-mirror", help="Mirror every other training picture.  [default: yes, but for digits]"),
    ] = None,
    init: Annotated[
        Path | None, Option(dir_okay=False, help="Weights to start from: our checkpoint or a torchvision state_dict.")
    ] = None,
    resume: Annotated[bool, Option("--resume", help="Go on from OUT/checkpoint.pt, if it is there.")] = False,
    device: Annotated[str, Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    precision: Annotated[
        Literal["auto", "fp32", "bf16"],
        Option(help="Number format; auto takes bf16 where the device multiplies in it."),
    ] = "auto",
    seed: Annotated[int, Option(min=0, help="Of everything random.")] = 0,
    workers: Annotated[
        int | None, Option(min=0, help="Processes that read images.  [default: none on a CPU, up to 8 for a GPU]")
    ] = None,
    json_: Annotated[bool, Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Parse, train, and say where the checkpoint is."""
    options = {name: value for name, value in locals().items() if name != "json_"}
    from training.stop import stop_on_signals

    try:
        with stop_on_signals():
            from training.config import TrainConfig
            from training.run import train

            outcome = train(TrainConfig(**options))
    except KeyboardInterrupt as stopped:
        kept = (
            "the last whole epoch is saved: go on with --resume"
            if (out / "checkpoint.pt").exists()
            else "no epoch was whole"
        )
        typer.echo(f"resserve: Stopped; {kept}.", err=True)
        raise typer.Exit(getattr(stopped, "exit_code", 130)) from None
    if json_:
        typer.echo(json.dumps(asdict(outcome), default=str))
    else:
        typer.echo(
            f"{outcome.checkpoint}: top-1 {outcome.top1:.2%} on {outcome.measured_on} after {outcome.epoch} epochs"
        )
