"""`resserve paper`: one experiment of He et al. 2015, rerun."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer
from typer import Argument, Option


def command(
    experiment: Annotated[
        Literal["degradation", "gradients", "shortcuts", "bottleneck", "costs", "architectures", "responses"],
        Argument(help="Costs and architectures need no data and no training."),
    ],
    data: Annotated[
        str | None,
        Option(help='A folder with train/CLASS/* and val/ or test/ (or only CLASS/*, then split), or "digits".'),
    ] = None,
    epochs: Annotated[int, Option(min=1, help="Of every training run.")] = 30,
    seeds: Annotated[int, Option(min=1, help="Runs of each network, seeded 1, 2, …")] = 2,
    depth: Annotated[
        list[int] | None,
        Option(help="Layers of the networks; give it once for each depth.  [default: the experiment's]"),
    ] = None,
    size: Annotated[int, Option(min=1, help="Side of the images, in pixels.")] = 32,
    budget: Annotated[
        str | None, Option(help="Time that training may take, e.g. 2h; the same command goes on later.")
    ] = None,
    runs: Annotated[Path, Option(help="Folder of the training runs.", file_okay=False)] = Path("runs/paper"),
    out: Annotated[Path, Option(help="Folder for pages, pictures and results.", file_okay=False)] = Path("docs/paper"),
    as_json: Annotated[bool, Option("--json", help="Print the finding and where it lies as JSON.")] = False,
) -> None:
    """Parse, run the experiment, and say what was found."""
    try:
        from paper.experiments import EXPERIMENTS, run
        from paper.options import Options, seconds
        from paper.runs import Budget

        options = Options(
            data=data,
            epochs=epochs,
            seeds=seeds,
            depths=tuple(depth or ()),
            size=size,
            budget=Budget(None if budget is None else seconds(budget)),
            runs=runs,
            out=out,
            say=lambda line: typer.echo(line, err=True),
        )
        results = run(experiment, options)
        finding = EXPERIMENTS[experiment].finding(results)
    except KeyboardInterrupt:
        typer.echo("resserve: Stopped; whole epochs are saved: the same command goes on with them.", err=True)
        raise typer.Exit(130) from None
    page = out / f"{experiment}.md"
    if as_json:
        typer.echo(json.dumps({"experiment": experiment, "finding": finding, "page": str(page)}))
    else:
        typer.echo(f"{finding}\n{page}")
