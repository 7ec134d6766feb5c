"""`make bench`: the service at the machine's limits, held against what the cores could do with no server at all.

`python -m bench.limits --only NAME` runs one cell, `--quick` runs everything once and briefly, for a look only.
"""

import contextlib
import json
import signal
import sys
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from bench.host.machine import describe, sentence
from bench.host.models import Untrained, prepare, write_stub
from bench.limits import experiments
from bench.limits.experiments import Bench, Figures
from bench.load.images import photo_jpegs
from bench.load.stats import Estimate, median_of
from resserve.errors import ResServeError

_REPOSITORY = Path("runs/bench-weights")
_RESULTS = Path(__file__).parents[1] / "results"

# Each is called with a Bench; a `model` is exported first, where it is missing.
CELLS: dict[str, partial[Figures]] = {
    "closed": partial(experiments.closed_loop, model="resnet50", callers=(1, 4, 16, 64)),
    "overload": partial(experiments.overload, model="resnet50"),
    "mixed": partial(experiments.mixed_deadlines, model="resnet50"),
    "int8": partial(experiments.closed_loop, model="resnet50-int8", callers=(1, 4, 16, 64)),
    "int8-overload": partial(experiments.overload, model="resnet50-int8"),
    "vgg16": partial(experiments.closed_loop, model="vgg16", callers=(16,)),
    "resnet152": partial(experiments.closed_loop, model="resnet152", callers=(16,)),
    "start": partial(experiments.cold_start, model="resnet50"),
    "memory": partial(experiments.memory, model="resnet50"),
    "connections": partial(experiments.connections),
    "endurance": partial(experiments.endurance),
    "request": partial(experiments.request_cost),
    "frontends": partial(experiments.frontends),
}


@dataclass(frozen=True)
class Row:
    """A line of the table: a figure of a cell, and the bar that its median must reach or stay under."""

    cell: str
    figure: str
    text: str
    bar: float | None  # None: shown beside the others
    most: bool = False  # the bar is an upper one
    unit: str = ""

    def judge(self, estimate: Estimate) -> bool | None:
        """Whether the median keeps the bar; None where there is none."""
        if self.bar is None:
            return None
        return bool(estimate.value <= self.bar if self.most else estimate.value >= self.bar)


def _ratio_rows(cell: str, what: str, bars: dict[int, float]) -> list[Row]:
    rows = []
    for callers, bar in bars.items():
        rows.append(Row(cell, f"{callers}/ideal", f"{what}, {callers} callers: of ideal", bar))
        rows.append(Row(cell, f"{callers}/raw", "  of raw", None))
    return rows


ROWS = [
    *_ratio_rows("closed", "ResNet-50 fp32", {1: 0.94, 4: 0.95, 16: 0.98, 64: 0.98}),
    Row("overload", "in_time/ideal", "3x overload, 1 s deadline: answers in time, of ideal", 0.97),
    Row("overload", "in_time/raw", "  of raw", None),
    Row("overload", "p99", "  p99 of the answers", 0.8, most=True, unit=" s"),
    Row("overload", "first_good", "  first good answer after it", 0.1, most=True, unit=" s"),
    Row("overload", "newcomer", "  a new caller's first good answer after it", None, unit=" s"),
    Row("mixed", "in_time/ideal", "the same, deadlines 0.3 to 3 s: in time, of ideal", 0.95),
    Row("mixed", "arrival_order/ideal", "  first come, first served: of ideal", None),
    Row("mixed", "gain", "  more than first come, first served by, of ideal", 0.0),
    *_ratio_rows("int8", "ResNet-50 int8", {1: 0.88, 4: 0.92, 16: 0.95, 64: 0.95}),
    Row("int8-overload", "in_time/ideal", "int8, 3x overload: answers in time, of ideal", 0.93),
    Row("int8-overload", "in_time/raw", "  of raw", None),
    *_ratio_rows("vgg16", "VGG-16 fp32", {16: 0.97}),
    *_ratio_rows("resnet152", "ResNet-152 fp32", {16: 0.97}),
    Row("start", "ratio", "spawn to first good answer / importing numpy, grpc, onnxruntime", 3.0, most=True),
    Row("start", "first_answer", "  spawn to first good answer", None, unit=" s"),
    Row("memory", "idle", "PSS of all processes, ResNet-50 fp32, idle", 250, most=True, unit=" MB"),
    Row("memory", "highest", "  highest under load", 330, most=True, unit=" MB"),
    Row("connections", "ratio", "time per request, 1,000 connections / 32", 1.1, most=True),
    Row("endurance", "ratio", "memory after all requests / after 1,000", 1.01, most=True),
    Row("request", "ms", "server CPU per 120 kB request, no-op model", 0.5, most=True, unit=" ms"),
    Row("request", "per_second", "  requests per second", None),
    *(
        Row("frontends", f"{n}/per_second", f"no-op model, requests per second, frontends: {n}", None)
        for n in (1, 2, 4)
    ),
]


def main(
    only: Annotated[list[str] | None, typer.Option(help=f"Cells to run: {', '.join(CELLS)}.")] = None,
    runs: Annotated[int, typer.Option(min=1, help="Of each cell; the table has their medians.")] = 3,
    quick: Annotated[bool, typer.Option("--quick", help="One short run of each: a look, not a measurement.")] = False,
) -> None:
    """Measure the service at the machine's limits and print the table; history goes to bench/results/."""
    wanted = only or list(CELLS)
    if unknown := set(wanted) - set(CELLS):
        raise typer.BadParameter(f"no cell {', '.join(unknown)}; there are: {', '.join(CELLS)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unwinds, so that no service is left behind
    console = Console()
    if not console.is_terminal:
        console.width = 120
    with console.status("Exporting what is missing in runs/bench-weights"):
        models = {CELLS[name].keywords["model"]: None for name in wanted if CELLS[name].keywords}
        prepare(_REPOSITORY, [Untrained.parse(model, size=224) for model in models])
        write_stub(_REPOSITORY)
    bench = Bench(
        repository=_REPOSITORY,
        photos=photo_jpegs(),
        seconds=4.0 if quick else 15.0,
        reference_seconds=1.0 if quick else 2.5,
        requests=5_000 if quick else 100_000,
    )
    history = _History(quick, describe())
    code = 0
    try:
        for name in wanted:
            for run in range(1 if quick else runs):
                with console.status(f"{name}, run {run + 1}"):
                    history.add(name, _attempt(console, name, replace(bench, seed=run)))
    except KeyboardInterrupt:
        code = 130  # as shells have it for Ctrl-C
        console.print("[yellow]Stopped; the table has what was measured.")
    console.print(table(history.cells))
    console.print(f"[dim]{sentence(history.machine)}\n[dim]{history.path}")
    sys.exit(code or int(history.failed))


def _attempt(console: Console, name: str, bench: Bench) -> Figures | None:
    try:
        return CELLS[name](bench)
    except ResServeError as error:
        console.print(f"[red]{name} could not be measured:[/] {error}")
        return None


class _History:
    """The figures of every run, in a file of this day and host that is whole after each."""

    def __init__(self, quick: bool, machine: dict[str, Any]) -> None:
        now = datetime.now(UTC)
        self.machine = machine
        self.quick = quick
        self.cells: dict[str, list[Figures]] = {}
        self.failed = False
        # A quick look is no measurement and stays out of the history that is kept.
        self.path = (Path("runs/bench") if quick else _RESULTS) / f"{now:%Y-%m-%dT%H%M%SZ}-{machine['host']}.json"

    def add(self, name: str, figures: Figures | None) -> None:
        if figures is None:
            self.failed = True
            return
        self.cells.setdefault(name, []).append(figures)
        rows = [
            {**asdict(row), **asdict(estimate), "passed": row.judge(estimate)}
            for row in ROWS
            if (estimate := _estimate(row, self.cells)) is not None
        ]
        text = json.dumps({"machine": self.machine, "quick": self.quick, "rows": rows, "runs": self.cells}, indent=2)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial_file = self.path.with_suffix(".partial")
        partial_file.write_text(text + "\n")
        partial_file.replace(self.path)


def _estimate(row: Row, measured: dict[str, list[Figures]]) -> Estimate | None:
    values = [figures[row.figure] for figures in measured.get(row.cell, []) if row.figure in figures]
    return median_of(values) if values else None


def table(measured: dict[str, list[Figures]]) -> Table:
    """Medians with their spread, the bars, and pass or falls short."""
    shown = Table(title="The service at the machine's limits", title_justify="left")
    shown.add_column("")
    for heading in ("median", "spread", "bar", ""):
        shown.add_column(heading, justify="right")
    for row in ROWS:
        estimate = _estimate(row, measured)
        if estimate is None:
            continue
        bar = "" if row.bar is None else f"{'≤' if row.most else '≥'} {row.bar:g}{row.unit}"
        verdict = {True: "[green]pass", False: "[red]falls short", None: ""}[row.judge(estimate)]
        spread = f"{estimate.low:.4g} – {estimate.high:.4g}"
        shown.add_row(row.text, f"{estimate.value:.4g}{row.unit}", spread, bar, verdict)
    return shown


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        try:
            typer.run(main)
        except ResServeError as error:
            sys.exit(f"bench: {error}")
