"""The report's charts, each made from the comparison's plain data."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import plotly.graph_objects as go

Found = dict[str, Any]
Model = dict[str, Any]
Chart = tuple[str, str, go.Figure]

# Okabe and Ito's colours, told apart by colour-blind readers too.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31", "#666666")


def all_charts(found: Found) -> Iterator[Chart]:
    """Heading, explanation and figure of each chart that the data allow."""
    yield _ratios(found)
    if any(model["accuracy"] for model in found["models"]):
        yield _pareto(found)
    yield _throughput(found)
    yield _cdfs(found)
    yield _work(found)


def counted_ratio(model: Model, found: Found) -> float:
    """Multiply-adds as a share of the baseline's, counted from the networks."""
    return float(model["multiply_adds"] / _baseline(found)["multiply_adds"])


def paper_ratio(model: Model, found: Found) -> float | None:
    """The same from the paper's own figures, where it gives both."""
    own, base = model["paper_multiply_adds"], _baseline(found)["paper_multiply_adds"]
    return own / base if own and base else None


def _baseline(found: Found) -> Model:
    return next(model for model in found["models"] if model["name"] == found["baseline"])


def _ratios(found: Found) -> Chart:
    models = found["models"]
    names = [model["name"] for model in models]
    figure = _figure("of " + found["baseline"], "")
    measured = [model["figures"]["latency_ratio"] for model in models]
    bars = [
        ("measured time, one caller", [one["value"] for one in measured], _errors(measured), _COLOURS[0]),
        ("counted multiply-adds", [counted_ratio(model, found) for model in models], None, _COLOURS[4]),
        ("the paper's multiply-adds", [paper_ratio(model, found) for model in models], None, _COLOURS[2]),
    ]
    for label, values, errors, colour in bars:
        figure.add_bar(
            y=names,
            x=values,
            name=label,
            orientation="h",
            error_x=errors,
            marker_color=colour,
            hovertemplate="%{y}: %{x:.3f}<extra>" + label + "</extra>",
        )
    figure.add_vline(x=1, line_dash="dot", line_color="#888")
    figure.update_layout(barmode="group", yaxis={"autorange": "reversed"}, height=120 + 90 * len(models))
    text = (
        f"What each model costs beside {found['baseline']}: the time of one image for a single caller, and what the "
        "count of multiply-adds promises. Whiskers: the lowest and the highest round."
    )
    return f"Cost against {found['baseline']}", text, figure


def _pareto(found: Found) -> Chart:
    known = [model for model in found["models"] if model["accuracy"]]
    figure = _figure("latency at one caller, p50 (ms)", "top-1 accuracy (%)")
    for model in known:
        latency, right = model["figures"]["latency_p50"], model["accuracy"]
        figure.add_scatter(
            x=[latency["value"] * 1e3],
            y=[right["value"] * 100],
            mode="markers+text",
            text=[model["name"]],
            textposition="top right",
            name=model["name"],
            showlegend=False,
            marker={"size": 12, "color": _colour(model, found)},
            error_x=_errors([latency], 1e3),
            error_y=_errors([right], 100),
            hovertemplate="%{text}: %{x:.2f} ms, %{y:.2f} %<extra></extra>",
        )
    front = pareto([(m["figures"]["latency_p50"]["value"], m["accuracy"]["value"]) for m in known])
    figure.add_scatter(
        x=[latency * 1e3 for latency, _ in front],
        y=[right * 100 for _, right in front],
        mode="lines",
        line={"shape": "hv", "dash": "dot", "color": "#888"},
        name="Pareto front",
        hoverinfo="skip",
    )
    text = (
        f"Accuracy on {found['data']} against latency. No model on the dotted front is beaten in both; whiskers: "
        "Wilson's 95 % interval of the accuracy, the lowest and highest round of the latency."
    )
    return "Accuracy against latency", text, figure


def pareto(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The (latency, accuracy) pairs that no other beats, by latency: none is both as fast and more accurate."""
    front: list[tuple[float, float]] = []
    for latency, right in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or right > front[-1][1]:
            front.append((latency, right))
    return front


def _throughput(found: Found) -> Chart:
    models = found["models"]
    figure = _figure("", "images per second")
    bars = (("throughput", "at saturation", _COLOURS[0]), ("goodput", f"in time ({found['objective']})", _COLOURS[2]))
    for key, label, colour in bars:
        figures = [model["figures"][key] for model in models]
        figure.add_bar(
            x=[model["name"] for model in models],
            y=[one["value"] for one in figures],
            name=label,
            error_y=_errors(figures),
            marker_color=colour,
            hovertemplate="%{x}: %{y:.2f}/s<extra>" + label + "</extra>",
        )
    figure.update_layout(barmode="group")
    text = (
        f"Images per second with {found['callers_at_saturation']} callers, and the answers in time when the same rate "
        "arrives at random. Whiskers: the lowest and the highest round."
    )
    return "Throughput", text, figure


def _cdfs(found: Found) -> Chart:
    figure = _figure("latency at one caller (ms, logarithmic)", "share of requests answered (%)")
    for model in found["models"]:
        shares = np.linspace(0, 100, len(model["latency_cdf"]))
        figure.add_scatter(
            x=[seconds * 1e3 for seconds in model["latency_cdf"]],
            y=shares,
            mode="lines",
            name=model["name"],
            line={"color": _colour(model, found), "width": 2},
            hovertemplate="%{y:.1f} % within %{x:.2f} ms<extra>" + model["name"] + "</extra>",
        )
    figure.update_xaxes(type="log")
    text = "The whole distribution for a single caller, all rounds together: the steeper, the more predictable."
    return "Latency distribution", text, figure


def _work(found: Found) -> Chart:
    base = _baseline(found)
    figure = _figure("multiply-adds per image (G)", "time per image, one caller, p50 (ms)")
    most = max(model["multiply_adds"] for model in found["models"]) / 1e9 * 1.1
    per_giga = base["figures"]["latency_p50"]["value"] * 1e3 / (base["multiply_adds"] / 1e9)
    figure.add_scatter(
        x=[0, most],
        y=[0, most * per_giga],
        mode="lines",
        name=f"as fast as {base['name']} per multiply-add",
        line={"dash": "dot", "color": "#888"},
        hoverinfo="skip",
    )
    for model in found["models"]:
        latency = model["figures"]["latency_p50"]
        figure.add_scatter(
            x=[model["multiply_adds"] / 1e9],
            y=[latency["value"] * 1e3],
            mode="markers+text",
            text=[model["name"]],
            textposition="top right",
            name=model["name"],
            showlegend=False,
            error_y=_errors([latency], 1e3),
            marker={"size": 12, "color": _colour(model, found)},
            hovertemplate="%{text}: %{x:.2f} G, %{y:.2f} ms<extra></extra>",
        )
    figure.update_xaxes(rangemode="tozero")
    figure.update_yaxes(rangemode="tozero")
    text = (
        f"If time followed the count of multiply-adds, all models would lie on the line through {base['name']}: above "
        "it, a multiply-add costs more time than there."
    )
    return "Multiply-adds against measured time", text, figure


def _figure(x_title: str, y_title: str) -> go.Figure:
    figure = go.Figure()
    figure.update_layout(
        template="plotly_white",
        xaxis_title=x_title,
        yaxis_title=y_title,
        height=440,
        margin={"l": 70, "r": 20, "t": 50, "b": 55},
        font={"family": "system-ui, sans-serif", "size": 14},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        paper_bgcolor="rgba(0,0,0,0)",
        modebar_bgcolor="rgba(0,0,0,0)",
    )
    return figure


def _errors(figures: list[dict[str, float]], scale: float = 1.0) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [(one["high"] - one["value"]) * scale for one in figures],
        "arrayminus": [(one["value"] - one["low"]) * scale for one in figures],
        "thickness": 1.5,
    }


def _colour(model: Model, found: Found) -> str:
    return _COLOURS[found["models"].index(model) % len(_COLOURS)]
