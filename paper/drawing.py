"""Pictures in the paper's manner, for pages with a light or a dark background."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from resserve.errors import ResServeError

# Readable on white and on near-black alike: contrast of at least 3.5 with both.
INK = "#7d8590"
PLAIN = "#d9730d"
RESIDUAL = "#2f81f7"
OTHER = "#1a9c5b"
SHADES = (PLAIN, RESIDUAL, OTHER, "#b04fc4", "#b58a00")  # lines of one panel

DPI = 150


def new_figure(width: float, height: float) -> Figure:
    """A figure of so many inches, with a transparent background."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    figure.patch.set_alpha(0)
    return figure


def style(axes: Axes, *, title: str = "", legend: bool = True) -> None:
    """Grey frame, ticks and texts; call it when everything is drawn."""
    axes.patch.set_alpha(0)
    axes.grid(color=INK, alpha=0.25, linewidth=0.6)
    for spine in axes.spines.values():
        spine.set_color(INK)
    axes.tick_params(which="both", colors=INK)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    axes.set_title(title, color=INK, fontsize=10)
    if legend and axes.get_legend_handles_labels()[0]:
        axes.legend(labelcolor=INK, framealpha=0, fontsize=8)


def save(figure: Figure, path: Path) -> None:
    """Write a PNG file, or leave the old one.

    Raises:
        ResServeError: it cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(partial, format="png", dpi=DPI, metadata={"Software": None})
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise ResServeError(f"Cannot write {path} ({error.strerror}); free space or choose another --out.") from error
