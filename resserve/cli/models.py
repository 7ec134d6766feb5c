"""`resserve models`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from resserve import DEFAULT_TARGET
from resserve.cli.figures import count


def command(
    target: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help=f"What the service there serves.  [default: {DEFAULT_TARGET}]", show_default=False
        ),
    ] = None,
    repository: Annotated[
        Path | None, typer.Option(help="What this folder holds, every version, without a service.", file_okay=False)
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON list, an object for each version.")] = False,
) -> None:
    """List the model versions of a running service or of a repository."""
    if target and repository:
        raise typer.BadParameter("--target and --repository exclude each other.")
    rows = list(_in_repository(repository) if repository else _in_service(target or DEFAULT_TARGET))
    if json_:
        print(json.dumps(rows, indent=2))
    else:
        _show(rows)


def _in_service(target: str) -> Iterator[dict[str, Any]]:
    from resserve.client import Client

    with Client(target) as client:
        for status in client.list_models():
            yield {
                "name": status.model.name,
                "version": status.model.version,
                "state": status.state,
                "reason": status.reason,
                "architecture": status.model.architecture,
                "precision": status.model.precision,
                "untrained": status.model.untrained,
                "parameters": status.parameters,
                "multiply_adds": status.multiply_adds,
                "input": [status.input_height, status.input_width],
                "classes": len(status.labels),
                "metrics": dict(status.metrics),
                "metrics_data": status.metrics_data,
                "device": status.model.device,
                "provider": status.model.provider,
                "plan": status.plan,
            }


def _in_repository(repository: Path) -> Iterator[dict[str, Any]]:
    from resserve.repository import read_version, scan

    for name, numbers in scan(repository).items():
        for number in numbers:
            version = read_version(repository, name, number)
            row: dict[str, Any] = {"name": name, "version": number}
            if version.manifest is None:
                yield row | {"state": "broken", "reason": version.problem}
                continue
            manifest = version.manifest
            yield row | {
                "state": "whole",
                "reason": "",
                "input": [manifest.input.height, manifest.input.width],
                "classes": len(manifest.labels),
                "created": manifest.created,
                **manifest.model_dump(
                    include={
                        "architecture", "precision", "untrained", "parameters", "multiply_adds", "metrics",
                        "metrics_data",
                    }
                ),
            }  # fmt: skip


_STATE_STYLES = {"ready": "green", "whole": "green", "loading": "yellow", "failed": "red", "broken": "red"}


def _show(rows: list[dict[str, Any]]) -> None:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("model", "state", "network", "input", "classes"):
        table.add_column(heading)
    for heading in ("params", "multiply adds", "top-1"):
        table.add_column(heading, justify="right")
    for row in rows:
        state = f"[{_STATE_STYLES.get(row['state'], 'default')}]{row['state']}"
        table.add_row(_title(row), state, *(_figures(row) if row.get("architecture") else []))
    console = Console(highlight=False)
    console.print(table)
    for row in rows:
        if row["reason"]:
            console.print(f"[red]{_title(row)}: {escape(row['reason'])}", soft_wrap=True)
        elif details := _details(row):
            console.print(f"{_title(row)}: {escape(details)}", soft_wrap=True)


def _title(row: dict[str, Any]) -> str:
    return escape(f"{row['name']}@{row['version']}")


def _figures(row: dict[str, Any]) -> list[str]:
    top1 = row["metrics"].get("top1")
    return [
        f"{row['architecture']} {row['precision']}",
        "x".join(map(str, row["input"])),
        str(row["classes"]),
        count(row["parameters"]),
        count(row["multiply_adds"]),
        "[yellow]untrained" if row["untrained"] else "" if top1 is None else f"{top1:.1%}",
    ]


def _details(row: dict[str, Any]) -> str:
    measured = f"measured on {row['metrics_data']}" if row["metrics_data"] else ""
    runs = f"runs on {row['device']} ({row['provider']}): {row['plan']}" if "plan" in row else ""
    return "; ".join(filter(None, (measured, runs)))
