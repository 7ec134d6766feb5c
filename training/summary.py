"""An account of the data of a run: images of each class and part, and what is not used."""

from collections import Counter

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from training.data import ImageData

_FEW = 30  # classes, one a line


def show_data(data: ImageData, console: Console) -> None:
    """Print how many images each class has in each part, where the held-out ones come from, and what is not used."""
    train, held_out = (Counter(sample.label for sample in part) for part in (data.train, data.held_out))
    classes = range(len(data.labels))
    shown = list(classes)
    if len(shown) > _FEW:
        shown = sorted(classes, key=lambda label: (train[label], label))[: _FEW // 3]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("class" if len(shown) == len(classes) else "smallest classes")
    table.add_column("train", justify="right")
    table.add_column("held out", justify="right")
    for label in shown:
        table.add_row(escape(data.labels[label]), f"{train[label]:,}", f"{held_out[label]:,}")
    table.add_section()
    table.add_row(f"all {len(classes):,}", f"{train.total():,}", f"{held_out.total():,}")
    console.print(table)
    unseen = [data.labels[label] for label in classes if not held_out[label]]
    missing = f"Classes without a held-out image: {len(unseen):,} (e.g. {unseen[0]})." if unseen else ""
    for note in (f"Held out: {data.description}.", missing, *data.notes):
        if note:
            console.print(note, markup=False, highlight=False, soft_wrap=True)
