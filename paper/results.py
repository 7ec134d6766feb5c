"""Results of an experiment: tables as CSV, all else as JSON, whole or not at all, and merged with earlier ones."""

import csv
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resserve.errors import ResServeError

Row = dict[str, Any]


@dataclass(kw_only=True)
class Results:
    """Measurements of one experiment.

    Attributes:
        experiment: its name.
        facts: settings, summaries and provenance; what JSON can hold.
        tables: rows by the table's name; every row of a table has the same columns.
    """

    experiment: str
    facts: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, list[Row]] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Write `<experiment>.json` and `<experiment>-<table>.csv`.

        Raises:
            ResServeError: a file cannot be written.
        """
        for name, rows in self.tables.items():
            write_whole(folder / f"{self.experiment}-{name}.csv", _csv(rows))
        content = {"experiment": self.experiment, "tables": sorted(self.tables), **self.facts}
        write_whole(folder / f"{self.experiment}.json", json.dumps(content, indent=1) + "\n")


def read(folder: Path, experiment: str) -> Results | None:
    """The results that a folder holds of an experiment; None where it has not been run.

    Raises:
        ResServeError: the files are not what `Results.write` writes.
    """
    path = folder / f"{experiment}.json"
    if not path.exists():
        return None
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        names = facts.pop("tables")
        del facts["experiment"]
        tables = {name: _rows((folder / f"{experiment}-{name}.csv").read_text(encoding="utf-8")) for name in names}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ResServeError(f"{path} or a table beside it is damaged ({error}); remove them and run again.") from None
    return Results(experiment=experiment, facts=facts, tables=tables)


def merged(old: Iterable[Row], new: Iterable[Row], key: str) -> list[Row]:
    """The new rows, and those of the old whose key no new row has, sorted by key; rows of one key keep their order."""
    new = list(new)
    replaced = {row[key] for row in new}
    return sorted([row for row in old if row[key] not in replaced] + new, key=lambda row: str(row[key]))


def write_whole(path: Path, text: str) -> None:
    """Write a text file, or leave the old one.

    Raises:
        ResServeError: it cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise ResServeError(f"Cannot write {path} ({error.strerror}); free space or choose another --out.") from error


def _csv(rows: list[Row]) -> str:
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    table.writeheader()
    table.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def _cell(value: object) -> object:
    return f"{value:.6g}" if isinstance(value, float) else value


def _rows(text: str) -> list[Row]:
    return [{name: _value(cell) for name, cell in row.items()} for row in csv.DictReader(text.splitlines())]


def _value(cell: str) -> str | int | float:
    for kind in (int, float):
        try:
            return kind(cell)
        except ValueError:
            pass
    return cell
