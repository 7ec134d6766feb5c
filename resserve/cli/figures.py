"""Figures as people read them."""


def count(number: float) -> str:
    """Three digits and a unit: 25557032 is "25.6 M"."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.3g}"


def milliseconds(seconds: float) -> str:
    """0.01234 is "12.3 ms"."""
    return f"{seconds * 1e3:.1f} ms"
