"""Markdown tables, and figures with their range over the seeds."""

from collections.abc import Sequence
from statistics import mean


def markdown(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table whose first column is text and whose others are set to the right if they start with a digit."""
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(headings)
    numeric = [bool(cells) and all(str(cell)[:1].isdigit() or cell in ("", "-") for cell in cells) for cells in columns]
    lines = [headings, ["--:" if right else "---" for right in numeric], *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def over_seeds(values: Sequence[float], form: str = ".1%") -> str:
    """The mean and, of several values, their range: `8.4 % (8.1 to 8.7, 2 seeds)`."""
    if not values:
        return "not run yet"
    shown = f"{mean(values):{form}}"
    if len(values) == 1:
        return f"{shown} (1 seed)"
    return f"{shown} ({min(values):{form}} to {max(values):{form}}, {len(values)} seeds)"
