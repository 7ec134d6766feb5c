"""`python -m models` prints the catalogue as two Markdown tables, counted anew from the modules."""

from rich import box
from rich.console import Console
from rich.table import Table

from models.catalogue import CATALOGUE
from models.published import Quantity

UNITS: dict[Quantity, tuple[str, float, str]] = {
    "multiply_adds": ("multiply-adds", 1e9, "G"),
    "parameters": ("parameters", 1e6, "M"),
    "top1_error": ("top-1 error", 1, "%"),
    "top5_error": ("top-5 error", 1, "%"),
}


def costs() -> Table:
    """One row a network: what is counted from the module."""
    table = Table(box=box.MARKDOWN)
    for heading in ("network", "family", "shortcut"):
        table.add_column(heading)
    for heading in ("input", "classes", "smallest input", "parameters", "multiply-adds"):
        table.add_column(heading, justify="right")
    for entry in CATALOGUE.values():
        parameters, multiply_adds = entry.counts
        sizes = (f"{entry.input_size}", f"{entry.classes}", f"{entry.minimum_size}")
        table.add_row(entry.name, entry.family, entry.shortcut or "", *sizes, f"{parameters:,}", f"{multiply_adds:,}")
    return table


def published() -> Table:
    """One row a figure of the papers."""
    table = Table(box=box.MARKDOWN)
    table.add_column("network")
    table.add_column("figure")
    table.add_column("value", justify="right")
    table.add_column("conditions")
    table.add_column("source")
    for entry in CATALOGUE.values():
        for figure in entry.published:
            quantity, unit, suffix = UNITS[figure.quantity]
            value = f"{round(figure.value / unit, 4)} {suffix}"
            table.add_row(entry.name, quantity, value, figure.conditions, figure.source)
    return table


def main() -> None:
    """Print both tables, wide enough that no cell is cut."""
    console = Console(width=200, highlight=False)
    for table in (costs(), published()):
        console.print(table)


if __name__ == "__main__":
    main()
