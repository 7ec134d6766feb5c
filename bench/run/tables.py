"""What a load brought back, as tables for the terminal."""

from rich.console import Console
from rich.table import Table

from bench.host.machine import sentence
from bench.load.capacity import Objective, Step
from bench.load.progress import milliseconds
from bench.load.result import Result
from bench.load.stats import QUANTILES, Estimate
from bench.run.self_check import SelfCheck
from bench.run.session import Report


def interval(estimate: Estimate) -> str:
    """The 95 % interval of a duration; an open side is where the sample is too small to bound it."""
    low = "?" if estimate.low is None else milliseconds(estimate.low)
    high = "?" if estimate.high is None else milliseconds(estimate.high)
    return f"{low} – {high}"


def result_table(title: str, result: Result) -> Table:
    """One load's figures."""
    table = Table(title=title, show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column(style="dim")
    table.add_row("requests", f"{len(result.counted):,}", f"in {result.window:g} s, {result.offered:.1f} per second")
    table.add_row("answers", f"{len(result.latencies):,}", f"{result.throughput:.2f} per second")
    table.add_row("in time", f"{result.in_time:,}", f"{result.goodput:.2f} per second within the deadline")
    for code, count in result.errors.items():
        table.add_row(f"[red]{code}", f"{count:,}", "")
    for q in QUANTILES:
        if (estimate := result.latency(q)) is not None:
            table.add_row(f"latency p{q * 100:g}", milliseconds(estimate.value), f"95 %: {interval(estimate)}")
    table.add_row(
        "generator",
        f"{result.generator_cpu:.0%} of a core",
        f"{result.cpu_per_request * 1e3:.2f} ms CPU per request; sent at most {milliseconds(result.lag)} late (p99)",
    )
    return table


def check_table(check: SelfCheck) -> Table:
    """The generator's times against the server's histogram."""
    table = Table(title="Against the server's own histogram, warm-up included", title_justify="left")
    for heading in ("", "generator, from sending", "server", ""):
        table.add_column(heading)
    verdict = {True: "[green]agrees", False: "[red]differs"}
    same = check.generator_answers == check.server_answers
    table.add_row("answers", f"{check.generator_answers:,}", f"{check.server_answers:,}", verdict[same])
    for row in check.quantiles:
        server = f"{milliseconds(row.low)} – {milliseconds(row.high)}"
        table.add_row(f"p{row.q * 100:g}", milliseconds(row.generator), server, verdict[row.agrees])
    return table


def capacity_table(title: str, objective: Objective, steps: list[Step]) -> Table:
    """The rates that a sweep tried, lowest first."""
    table = Table(title=title, title_justify="left")
    for heading in ("offered", "share within", "p50", "p99", ""):
        table.add_column(heading, justify="right")
    for step in sorted(steps, key=lambda one: one.rate):
        p50, p99 = (milliseconds(one.value) if (one := step.result.latency(q)) else "–" for q in (0.5, 0.99))
        met = "[green]met" if step.met else "[red]missed"
        table.add_row(f"{step.rate:.2f}/s", f"{objective.share(step.result):.2%}", p50, p99, met)
    return table


def print_report(console: Console, report: Report) -> None:
    """All that `resserve bench` found, for people."""
    plan = report.plan
    loop = f"{plan.concurrency} callers" if plan.rate is None else f"{plan.rate:g} requests per second, {plan.arrivals}"
    console.print(result_table(f"{report.model}, version {report.version}: {loop}", report.result))
    if report.self_check is not None:
        console.print(check_table(report.self_check))
    else:
        console.print("[dim]No metrics to check the figures against.")
    if report.references is not None and report.raw:
        before, after = (one.raw for one in report.references)
        ratio = report.result.throughput / report.raw
        console.print(
            f"Plain ONNX Runtime, batch 8, no decoding: {before:.2f} images/s before and {after:.2f} after; "
            f"the service reaches [bold]{ratio:.2f}[/] of it."
        )
    if report.objective is not None:
        title = f"Capacity within {report.objective}: {report.capacity:.2f} requests per second"
        console.print(capacity_table(title, report.objective, report.steps))
    for warning in [*report.result.warnings, *(text for step in report.steps for text in step.result.warnings)]:
        console.print(f"[yellow]Warning:[/] {warning}")
    console.print(f"[dim]{sentence(report.machine)}")
