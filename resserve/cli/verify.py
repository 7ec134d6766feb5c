"""`resserve verify`."""

import json
from pathlib import Path
from typing import Annotated

import typer


def command(
    version: Annotated[Path, typer.Argument(help="A version's folder, e.g. weights/resnet50/1.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the certificate as JSON.")] = False,
) -> None:
    """Replay a model version's certificate and check its digests."""
    from export.verify import verify

    certificate = verify(version)
    if as_json:
        print(json.dumps(certificate.model_dump(mode="json")))
        return
    for entry in certificate.entries:
        print(
            f"{certificate.engine} in {certificate.compute}, batch {entry.batch}: "
            f"logits within {entry.max_abs_diff:.2g} of PyTorch's (allowed {certificate.tolerance:.2g}), "
            f"{entry.top1_agreement:.0%} of the top answers agree"
        )
    print(f"{version}: every file is as exported, and the certificate holds here")
