"""`resserve doctor`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

_SIGNS = {"ok": "[green]ok", "note": "[yellow]note", "problem": "[red]problem"}


def command(
    repository: Annotated[Path | None, typer.Option(help="The folder of all models.  [default: weights]")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON list, an object for each finding.")] = False,
) -> None:
    """Look at the machine and the repository; exit code 1 if something keeps the service from serving."""
    from resserve.doctor import examine
    from service.settings import load_settings

    settings = load_settings(repository=repository)
    ports = {"gRPC": settings.port, "HTTP": settings.http_port}
    findings = examine(settings.repository, settings.host, ports)
    if json_:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        table = Table.grid(padding=(0, 2))
        for finding in findings:
            table.add_row(_SIGNS[finding.state], f"[bold]{escape(finding.subject)}", escape(finding.detail))
        Console(highlight=False).print(table)
    if any(finding.state == "problem" for finding in findings):
        raise typer.Exit(1)
