"""`resserve compare`: architectures served alone under the same load, in interleaved rounds.

In each round every model has its turn, and a turn starts a service of its own and ends it again: a model is measured
with the machine to itself, whatever was measured before left nothing behind, and cold start and memory get a spread
like everything else. The order rotates, so that a machine that slows down or speeds up favours none, and ratios to the
baseline are taken within a round.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.compare.accuracy import Labelled, accuracy, labelled
from bench.compare.energy import read_joules, spent
from bench.host.machine import describe
from bench.host.models import version_directory
from bench.host.service import Sampler, Service, serving
from bench.load.capacity import Objective
from bench.load.driver import Plan, Target, drive
from bench.load.images import photo_jpegs
from bench.load.result import Result
from bench.load.stats import Estimate, median_of
from resserve.errors import ResServeError
from resserve.files import MODEL
from resserve.manifest import read_manifest

# Multiply-adds at 224 pixels as the paper gives them ("FLOPs"): He et al. 2015, Table 1, and section 4.1 for VGG.
PAPER_MULTIPLY_ADDS = {
    "resnet18": 1.8e9,
    "resnet34": 3.6e9,
    "plain34": 3.6e9,
    "resnet50": 3.8e9,
    "resnet101": 7.6e9,
    "resnet152": 11.3e9,
    "vgg16": 15.3e9,
    "vgg19": 19.6e9,
}

_BASELINE = "vgg16"
_SATURATING_CALLERS = 16
_PATIENT = (120.0, 120.0)
_CDF_POINTS = 201


@dataclass(frozen=True, kw_only=True)
class Question:
    """What to compare and how."""

    names: Sequence[str]
    repository: Path
    objective: Objective
    data: Path | None = None  # labelled pictures, for accuracy
    rounds: int = 3
    seconds: float = 10.0  # that each load counts

    @property
    def warmup(self) -> float:
        """Seconds before a load counts."""
        return min(2.0, self.seconds / 2)


@dataclass(frozen=True)
class Turn:
    """One model in one round; seconds, bytes, images per second."""

    figures: dict[str, float]
    one_caller: Result


def compare(question: Question, on_step: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Measure, and return everything as plain data: what the table, the JSON file and the report are made of.

    Args:
        question: what to compare.
        on_step: told what happens next; called once for the preparation of a model and once for each turn.

    Raises:
        ResServeError: a model is not in the repository or does not start, or the data do not fit it.
    """
    directories = {name: version_directory(question.repository, name) for name in question.names}
    manifests = {name: read_manifest(directory) for name, directory in directories.items()}
    pictures = None if question.data is None else labelled(question.data)
    photos = photo_jpegs()
    machine = describe()
    accuracies: dict[str, Estimate | None] = {}
    for name, manifest in manifests.items():
        on_step(f"{name}: accuracy and a first start")
        with serving(question.repository, [name]) as service:
            accuracies[name] = _accuracy(service, name, pictures, manifest.labels, manifest.untrained)
    turns: dict[str, list[Turn]] = {name: [] for name in question.names}
    for number in range(question.rounds):
        shift = number % len(question.names)
        for name in [*question.names[shift:], *question.names[:shift]]:
            on_step(f"round {number + 1}: {name}")
            turns[name].append(_turn(question, name, photos, seed=number))
    baseline = next((name for name in question.names if manifests[name].architecture == _BASELINE), question.names[0])
    return {
        "machine": machine,
        "baseline": baseline,
        "objective": str(question.objective),
        "rounds": question.rounds,
        "seconds": question.seconds,
        "callers_at_saturation": _SATURATING_CALLERS,
        "data": None if pictures is None else f"{len(pictures.paths)} pictures of {question.data}",
        "models": [
            {
                "name": name,
                "version": manifest.version,
                "architecture": manifest.architecture,
                "precision": manifest.precision,
                "untrained": manifest.untrained,
                "input": [manifest.input.height, manifest.input.width],
                "parameters": manifest.parameters,
                "multiply_adds": manifest.multiply_adds,
                "paper_multiply_adds": _paper(manifest.architecture, manifest.input.height),
                "file_bytes": (directories[name] / MODEL).stat().st_size,
                "accuracy": asdict(found) if (found := accuracies[name]) else None,
                "figures": _figures(turns[name], turns[baseline]),
                "latency_cdf": _cdf(turns[name]),
                "rounds": [turn.figures for turn in turns[name]],
            }
            for name, manifest in manifests.items()
        ],
    }


def _accuracy(
    service: Service, name: str, pictures: Labelled | None, labels: list[str], untrained: bool
) -> Estimate | None:
    if pictures is None or untrained:
        return None
    return accuracy(service.address, name, labels, pictures)


def _turn(question: Question, name: str, photos: Sequence[bytes], seed: int) -> Turn:
    with serving(question.repository, [name]) as service:
        figures = {"cold_start": service.first_answer(name, photos[0])}
        target = Target(address=service.address, images=photos, model=name)
        one = _drive(question, target, concurrency=1)
        figures |= {"pss_idle": float(service.pss_bytes())}
        # Once a second: a reading walks all pages of the service, which takes milliseconds.
        with Sampler(service.pss_bytes, every=1.0) as sampler:
            joules = read_joules()
            full = _drive(question, target, concurrency=_SATURATING_CALLERS)
            energy = spent(joules, read_joules())
        limit = question.objective.seconds
        offered = _drive(question, target, rate=full.throughput, deadlines=(limit, limit), seed=seed)
    if not len(one.latencies) or not full.throughput:
        raise ResServeError(f"{name} answered nothing within {question.seconds:g} s; give it more --seconds.")
    figures |= {
        "latency_p50": float(np.quantile(one.latencies, 0.5)),
        "latency_p99": float(np.quantile(one.latencies, 0.99)),
        "throughput": full.throughput,
        "goodput": offered.goodput,
        "within_objective": question.objective.share(offered),
        "pss_highest": sampler.highest,
    }
    if energy is not None:
        figures["joules_per_image"] = energy / max(1, int(np.count_nonzero(full.records["code"] == 0)))
    return Turn(figures, one)


def _drive(
    question: Question,
    target: Target,
    concurrency: int = 1,
    rate: float | None = None,
    deadlines: tuple[float, float] = _PATIENT,
    seed: int = 0,
) -> Result:
    plan = Plan(
        seconds=question.warmup + question.seconds,
        warmup=question.warmup,
        rate=rate,
        concurrency=concurrency,
        deadlines=deadlines,
        seed=seed,
    )
    return drive(target, [plan])[0]


def _figures(own: Sequence[Turn], baseline: Sequence[Turn]) -> dict[str, Any]:
    """Medians over the rounds with their extremes; ratios to the baseline are taken round by round."""
    found = {key: median_of([turn.figures[key] for turn in own]) for key in own[0].figures}
    pairs = list(zip(own, baseline, strict=True))
    found["latency_ratio"] = median_of([a.figures["latency_p50"] / b.figures["latency_p50"] for a, b in pairs])
    found["throughput_ratio"] = median_of([a.figures["throughput"] / b.figures["throughput"] for a, b in pairs])
    return {key: asdict(estimate) for key, estimate in found.items()}


def _cdf(turns: Sequence[Turn]) -> list[float]:
    """Latency at one caller, all rounds together, at evenly spaced shares from 0 to 1."""
    latencies = np.concatenate([turn.one_caller.latencies for turn in turns])
    return [float(value) for value in np.quantile(latencies, np.linspace(0, 1, _CDF_POINTS))]


def _paper(architecture: str, size: int) -> float | None:
    return PAPER_MULTIPLY_ADDS.get(architecture.removesuffix("_bn")) if size == 224 else None
