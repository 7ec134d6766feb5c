"""What each epoch brought, as a table and as the curves of the paper."""

import csv
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from resserve.errors import ResServeError


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One row of metrics.csv. Errors are 1 - top-1, from 0 to 1; losses are mean cross-entropies.

    Those of training are of the varied pictures, while the network was changing; `val` is the held-out part.
    """

    epoch: int
    lr: float
    train_loss: float
    train_error: float
    val_loss: float
    val_error: float
    images_per_second: float
    seconds: float


def write_metrics(path: Path, epochs: list[Epoch]) -> None:
    """Write metrics.csv whole, or leave the old one.

    Raises:
        ResServeError: it cannot be written.
    """
    partial = path.with_suffix(".partial")
    try:
        with partial.open("w", newline="") as file:
            table = csv.DictWriter(file, [field.name for field in fields(Epoch)], lineterminator="\n")
            table.writeheader()
            table.writerows({name: f"{value:.6g}" for name, value in asdict(epoch).items()} for epoch in epochs)
        partial.replace(path)
    except OSError as error:
        raise ResServeError(f"Cannot write {path} ({error.strerror}); free space or choose another --out.") from error
    finally:
        partial.unlink(missing_ok=True)


def draw_curves(path: Path, epochs: list[Epoch], title: str) -> None:
    """Draw loss and error over epochs, training dashed and validation solid, as Figures 1, 4 and 6 of the paper.

    Raises:
        ResServeError: the picture cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    numbers = [epoch.epoch for epoch in epochs]
    for axes, quantity in zip(figure.subplots(1, 2), ("loss", "error"), strict=True):
        for part, line, name in (("train", "--", "training"), ("val", "-", "validation")):
            values = [getattr(epoch, f"{part}_{quantity}") for epoch in epochs]
            axes.plot(numbers, values, line, color="tab:red", marker="." if len(epochs) < 30 else "", label=name)
        # The first validations are far off while the batch norms' statistics settle; they must not flatten the rest.
        highest = {part: max(getattr(epoch, f"{part}_{quantity}") for epoch in epochs) for part in ("train", "val")}
        top = min(max(highest.values()), 1.5 * highest["train"])
        axes.set(xlabel="epoch", ylabel=quantity, ylim=(0, 1.05 * top if top > 0 else None))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1))
    figure.suptitle(title)
    partial = path.with_suffix(".partial")
    try:
        figure.savefig(partial, format="png", dpi=120)
        partial.replace(path)
    except OSError as error:
        raise ResServeError(f"Cannot write {path} ({error.strerror}); free space or choose another --out.") from error
    finally:
        partial.unlink(missing_ok=True)
