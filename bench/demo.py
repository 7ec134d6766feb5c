"""`make demo`: serve what was trained on the digits, classify every held-out one over gRPC, and hold it to its word."""

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench.host.service import Service, serving
from bench.load.stats import Estimate, proportion, quantile
from resserve.cli.figures import count, milliseconds
from resserve.client import Client
from resserve.errors import ClassifyError, InvalidInputError, NotFoundError, ResServeError
from resserve.manifest import Manifest
from resserve.repository import read_version, scan

REPOSITORY = Path("weights")
HELD_OUT = Path("runs/digits/val")

# Training may validate in bf16 and in batches, the service computes in fp32: where the two best classes all but tie,
# rounding decides. The certificate bounds what quantisation may change on top.
ROUNDING = 0.01


@dataclass(frozen=True)
class Score:
    """One model on the held-out pictures, each asked for alone.

    Attributes:
        latencies: [n] seconds, from the call to its answer.
    """

    manifest: Manifest
    correct: int
    latencies: Sequence[float]

    @property
    def accuracy(self) -> Estimate:
        """With Wilson's 95 % interval."""
        return proportion(self.correct, len(self.latencies))

    @property
    def allowed(self) -> float:
        """How far the accuracy may be from the one in the manifest."""
        return ROUNDING + 1 - self.manifest.certificate.min_top1_agreement


def main() -> None:
    """Exit code 0 only if every check held."""
    try:
        failures = demo(REPOSITORY, HELD_OUT, Console())
    except ResServeError as error:
        sys.exit(f"demo: {error}")
    sys.exit(1 if failures else 0)


def demo(repository: Path, held_out: Path, console: Console) -> list[str]:
    """Run it all; return one sentence for each thing that was not right.

    Args:
        repository: the folder of all models.
        held_out: a folder for each class, holding its pictures.
        console: where the table goes.

    Raises:
        ResServeError: there is nothing to classify, nothing to classify with, or the service does not start.
    """
    pictures = _pictures(held_out)
    manifests, others = _trained_on(repository, f"{len(pictures)} images of {held_out}")
    if others:
        console.print(f"[dim]Left out, not measured on {held_out}: {', '.join(others)}")
    names = [manifest.name for manifest in manifests]
    console.print(f"Serving {', '.join(names)} on a free port; classifying {len(pictures)} held-out digits with each.")
    with serving(repository, names) as service:
        scores = [_score(service, manifest, pictures, console) for manifest in manifests]
        failures = [*_check_scores(scores), *_check_refusals(service, manifests, pictures[0][0])]
    if service.process.returncode != 0:
        failures.append(f"The service ended with exit code {service.process.returncode} after SIGTERM.")
    console.print(_table(scores))
    for failure in failures:
        console.print(f"[red]{failure}")
    if not failures:
        allowed = max(score.allowed for score in scores)
        console.print(
            f"[green]All was right:[/] accuracy over gRPC is the manifest's within {allowed:.0%}, what is not served "
            "was refused, and SIGTERM ended the service with exit code 0."
        )
    return failures


def _pictures(held_out: Path) -> list[tuple[Path, str]]:
    """Every picture with its class."""
    pictures = [(path, path.parent.name) for path in sorted(held_out.glob("*/*.png"))]
    if not pictures:
        raise ResServeError(
            f"There are no held-out digits in {held_out}: `resserve train resnet20 --data digits --out runs/resnet20` "
            "writes them."
        )
    return pictures


def _trained_on(repository: Path, data: str) -> tuple[list[Manifest], list[str]]:
    """The newest versions whose accuracy was measured on `data`, and the names of all other models."""
    newest = [read_version(repository, name, numbers[-1]) for name, numbers in scan(repository).items()]
    manifests = [one.manifest for one in newest if one.manifest and one.manifest.metrics_data == data]
    if not manifests:
        raise ResServeError(
            f"No model in {repository} was trained on the digits, which the demo classifies; use your own models with "
            "`resserve serve`, or add one: `resserve train resnet20 --data digits --out runs/resnet20`, then "
            "`resserve export runs/resnet20/checkpoint.pt --name resnet20`."
        )
    chosen = {manifest.name for manifest in manifests}
    return manifests, [one.name for one in newest if one.name not in chosen]


def _score(service: Service, manifest: Manifest, pictures: list[tuple[Path, str]], console: Console) -> Score:
    correct, latencies = 0, []
    with Client(service.address) as client:
        client.classify(pictures[0][0], model=manifest.name)  # connects
        for path, label in track(pictures, manifest.name, console=console, transient=True):
            image = path.read_bytes()
            begun = time.perf_counter()
            answer = client.classify(image, model=manifest.name, top_k=1)
            latencies.append(time.perf_counter() - begun)
            correct += answer.labels[0].name == label
    return Score(manifest, correct, latencies)


def _check_scores(scores: list[Score]) -> Iterator[str]:
    for score in scores:
        promised = score.manifest.metrics["top1"]
        if abs(score.accuracy.value - promised) > score.allowed:
            yield (
                f"{score.manifest.name} is {score.accuracy.value:.2%} accurate over gRPC and {promised:.2%} in its "
                f"manifest; rounding explains {score.allowed:.0%} at most."
            )


def _check_refusals(service: Service, manifests: list[Manifest], picture: Path) -> Iterator[str]:
    """Only what is served is answered, by the version that was asked for, and no text is taken for a picture."""
    first = manifests[0]
    with Client(service.address) as client:
        served = {(one.model.name, one.model.version) for one in client.list_models() if one.state == "ready"}
        asked = {(manifest.name, manifest.version) for manifest in manifests}
        if served != asked:
            yield f"The service says it serves {sorted(served)} and not {sorted(asked)}."
        for name, version in asked:
            model = client.classify(picture, model=name, version=version).model
            if (model.name, model.version) != (name, version):
                yield f"{model.name} version {model.version} answered for {name} version {version}."
        for what, image, model, version, expected in (
            ("A model that is not served", picture, "not-served", None, NotFoundError),
            ("A version that is not served", picture, first.name, first.version + 1, NotFoundError),
            ("Text instead of a picture", b"not a picture", first.name, None, InvalidInputError),
        ):
            try:
                client.classify(image, model=model, version=version)
            except ClassifyError as error:
                if not isinstance(error, expected):
                    yield f"{what} should have been refused as {expected.__name__}, not: {error}"
            else:
                yield f"{what} was answered."


def _table(scores: list[Score]) -> Table:
    table = Table(
        title=f"{len(scores[0].latencies)} held-out digits over gRPC, one caller",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("model")
    table.add_column("network")
    for heading in ("top-1 (95 % range)", "manifest", "p50", "p95", "params", "multiply adds"):
        table.add_column(heading, justify="right")
    for score in scores:
        manifest, accuracy = score.manifest, score.accuracy
        latencies = np.array(score.latencies)
        table.add_row(
            f"{manifest.name}@{manifest.version}",
            manifest.architecture,
            f"[bold]{accuracy.value:.1%}[/] ({accuracy.low * 100:.1f}–{accuracy.high * 100:.1f})",
            f"{manifest.metrics['top1']:.1%}",
            *(milliseconds(quantile(latencies, q).value) for q in (0.5, 0.95)),
            count(manifest.parameters),
            count(manifest.multiply_adds),
        )
    return table


if __name__ == "__main__":
    main()
