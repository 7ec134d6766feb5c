"""A comparison for people: a terminal table, and one HTML file that needs nothing else."""

import json
from collections.abc import Callable
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import plotly.io
from rich.table import Table

from bench.compare import charts
from bench.host.machine import sentence
from bench.load.progress import milliseconds

_PAGE = Template((Path(__file__).parent / "report.template.html").read_text())

Model = dict[str, Any]
Cell = tuple[str, str]  # a figure, and its spread or nothing


def write_report(directory: Path, found: dict[str, Any]) -> Path:
    """Write report.html and, with the same figures, report.json.

    Args:
        directory: made where it is missing.
        found: what `compare` returned.

    Returns:
        The path of the HTML file.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in (("report.json", json.dumps(found, indent=2) + "\n"), ("report.html", html(found))):
        partial = directory / f".{name}.partial"
        partial.write_text(text)
        partial.replace(directory / name)
    return directory / "report.html"


def html(found: dict[str, Any]) -> str:
    """The whole page: headline, charts, table, method and machine; plotly.js is inside, nothing is fetched."""
    parts = []
    for number, (heading, text, figure) in enumerate(charts.all_charts(found)):
        chart = plotly.io.to_html(
            figure,
            full_html=False,
            include_plotlyjs=number == 0,
            config={"displaylogo": False, "responsive": True},
            div_id=f"chart{number}",
        )
        parts.append(f"<section><h2>{escape(heading)}</h2><p>{escape(text)}</p>{chart}</section>")
    return _PAGE.substitute(
        headline=_headline(found),
        charts="\n".join(parts),
        table=_html_table(found),
        machine=escape(sentence(found["machine"])),
        method=escape(_method(found)),
        data=json.dumps(found).replace("<", "\\u003c"),
    )


def _headline(found: dict[str, Any]) -> str:
    """The ratio to the baseline, one card a model."""
    cards = []
    for model in found["models"]:
        if model["name"] == found["baseline"]:
            continue
        ratio = model["figures"]["latency_ratio"]
        paper = charts.paper_ratio(model, found)
        promised = f"; by the paper's multiply-adds {paper:.2f}" if paper else ""
        cards.append(
            f"<li><b>{escape(model['name'])}</b><strong>{ratio['value']:.2f}</strong>"
            f"<span>of {escape(found['baseline'])}'s time for one image ({ratio['low']:.2f} – {ratio['high']:.2f})"
            f"{promised}</span></li>"
        )
    return "\n".join(cards)


def _method(found: dict[str, Any]) -> str:
    return (
        f"{found['rounds']} rounds; in each, every model had one turn, in rotating order, on a service started for it "
        f"alone: {found['seconds']:g} s with one caller, {found['seconds']:g} s with {found['callers_at_saturation']} "
        f"callers (saturation), and {found['seconds']:g} s of Poisson arrivals at the rate it had just reached, where "
        f"an answer is in time within {found['objective']}. Figures are medians over the rounds with the lowest and "
        "the highest; ratios are taken within a round. Photos of 500 x 375 pixels, as JPEG, decoded by the service."
    )


def comparison_table(found: dict[str, Any]) -> Table:
    """The figures in the terminal, the ratios to the baseline first; a model a column."""
    shown = Table(title=f"Medians of {found['rounds']} rounds, with the lowest and the highest", title_justify="left")
    shown.add_column("")
    for model in found["models"]:
        shown.add_column(f"{model['name']}\n[dim]{model['precision']}", justify="right")
    for heading, figure in _ROWS:
        cells = [figure(model, found) for model in found["models"]]
        shown.add_row(
            heading.format(**found), *(f"{value}\n[dim]{spread}" if spread else value for value, spread in cells)
        )
    return shown


def _html_table(found: dict[str, Any]) -> str:
    head = "".join(f"<th>{escape(m['name'])}<small>{escape(m['precision'])}</small></th>" for m in found["models"])
    rows = []
    for heading, figure in _ROWS:
        cells = "".join(
            f"<td>{escape(value)}<small>{escape(spread)}</small></td>"
            for value, spread in (figure(model, found) for model in found["models"])
        )
        rows.append(f"<tr><th>{escape(heading.format(**found))}</th>{cells}</tr>")
    return f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _number(model: Model, key: str, scale: float = 1.0, digits: int = 2) -> Cell:
    figure = model["figures"].get(key)
    if figure is None:
        return "–", ""
    value, low, high = (figure[name] * scale for name in ("value", "low", "high"))
    return f"{value:,.{digits}f}", f"{low:,.{digits}f} – {high:,.{digits}f}"


def _duration(model: Model, key: str) -> Cell:
    value, low, high = (milliseconds(model["figures"][key][name]) for name in ("value", "low", "high"))
    return value, f"{low} – {high}"


def _accuracy(model: Model) -> Cell:
    found = model["accuracy"]
    if found is None:
        return ("untrained" if model["untrained"] else "–"), ""
    return f"{found['value']:.2%}", f"{found['low']:.2%} – {found['high']:.2%}"


def _multiply_adds_ratio(model: Model, found: dict[str, Any]) -> Cell:
    paper = charts.paper_ratio(model, found)
    return f"{charts.counted_ratio(model, found):.2f}", f"paper: {paper:.2f}" if paper else ""


# What each row shows: its heading, filled in from the comparison, and a figure with its spread.
_ROWS: list[tuple[str, Callable[[Model, dict[str, Any]], Cell]]] = [
    ("time for one image, of {baseline}", lambda model, _: _number(model, "latency_ratio")),
    ("multiply-adds, of {baseline}", _multiply_adds_ratio),
    ("images/s at saturation, of {baseline}", lambda model, _: _number(model, "throughput_ratio")),
    ("latency, one caller, p50", lambda model, _: _duration(model, "latency_p50")),
    ("latency, one caller, p99", lambda model, _: _duration(model, "latency_p99")),
    ("images/s at saturation", lambda model, _: _number(model, "throughput")),
    ("answers/s in time, {objective}", lambda model, _: _number(model, "goodput")),
    ("share in time at that load, %", lambda model, _: _number(model, "within_objective", 100, 1)),
    ("top-1 accuracy", lambda model, _: _accuracy(model)),
    ("multiply-adds", lambda model, _: (f"{model['multiply_adds'] / 1e9:.2f} G", "")),
    ("parameters", lambda model, _: (f"{model['parameters'] / 1e6:.2f} M", "")),
    ("model file", lambda model, _: (f"{model['file_bytes'] / 1e6:.1f} MB", "")),
    ("memory idle (PSS), MB", lambda model, _: _number(model, "pss_idle", 1e-6, 0)),
    ("memory at saturation (PSS), MB", lambda model, _: _number(model, "pss_highest", 1e-6, 0)),
    ("spawn to first answer", lambda model, _: _duration(model, "cold_start")),
    ("energy, J/image", lambda model, _: _number(model, "joules_per_image")),
]
