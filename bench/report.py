"""A comparison for people: a terminal table, and one HTML file that needs nothing else."""

import json
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import plotly.io
from rich.table import Table

from bench import charts
from bench.live import milliseconds
from bench.machine import sentence

_PAGE = Template((Path(__file__).parent / "report.template.html").read_text())

Model = dict[str, Any]


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
        data=json.dumps(found).replace("</", "<\\/"),
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
    """The figures in the terminal, the ratio to the baseline in front."""
    shown = Table(title=f"Against {found['baseline']}, medians of {found['rounds']} rounds", title_justify="left")
    for column, _ in _COLUMNS:
        shown.add_column(column.format(**found), justify="left" if column == "model" else "right")
    for model in found["models"]:
        shown.add_row(*(cell(model, found).replace(" [", "\n[dim]\\[") for _, cell in _COLUMNS))
    return shown


def _html_table(found: dict[str, Any]) -> str:
    head = "".join(f"<th>{escape(column.format(**found))}</th>" for column, _ in _COLUMNS)
    rows = []
    for model in found["models"]:
        cells = (escape(cell(model, found)).replace(" [", "<small>[").replace("]", "]</small>") for _, cell in _COLUMNS)
        rows.append("<tr>" + "".join(f"<td>{text}</td>" for text in cells) + "</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _spread(model: Model, key: str, scale: float = 1.0, digits: int = 2) -> str:
    figure = model["figures"].get(key)
    if figure is None:
        return "–"
    value, low, high = (figure[name] * scale for name in ("value", "low", "high"))
    return f"{value:.{digits}f} [{low:.{digits}f} – {high:.{digits}f}]"


def _duration(model: Model, key: str) -> str:
    value, low, high = (milliseconds(model["figures"][key][name]) for name in ("value", "low", "high"))
    return f"{value} [{low} – {high}]"


def _accuracy(model: Model) -> str:
    found = model["accuracy"]
    if found is None:
        return "untrained" if model["untrained"] else "–"
    return f"{found['value']:.2%} [{found['low']:.2%} – {found['high']:.2%}]"


def _own_ratio(model: Model, found: dict[str, Any]) -> str:
    ratio = charts.counted_ratio(model, found)
    paper = charts.paper_ratio(model, found)
    return f"{ratio:.2f} [paper {paper:.2f}]" if paper else f"{ratio:.2f}"


_COLUMNS = [
    ("model", lambda model, _: f"{model['name']} [{model['precision']}]"),
    ("time of {baseline}", lambda model, _: _spread(model, "latency_ratio")),
    ("multiply-adds of {baseline}", _own_ratio),
    ("one caller, p50", lambda model, _: _duration(model, "latency_p50")),
    ("p99", lambda model, _: _duration(model, "latency_p99")),
    ("images/s", lambda model, _: _spread(model, "throughput")),
    ("in time/s ({objective})", lambda model, _: _spread(model, "goodput")),
    ("accuracy", lambda model, _: _accuracy(model)),
    ("multiply-adds", lambda model, _: f"{model['multiply_adds'] / 1e9:.2f} G"),
    ("parameters", lambda model, _: f"{model['parameters'] / 1e6:.2f} M"),
    ("file", lambda model, _: f"{model['file_bytes'] / 1e6:.1f} MB"),
    ("memory, MB", lambda model, _: _spread(model, "pss_highest", 1e-6, 0)),
    ("cold start", lambda model, _: _duration(model, "cold_start")),
    ("J/image", lambda model, _: _spread(model, "joules_per_image")),
]
