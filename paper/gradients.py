"""Gradients and activations, plain against residual, with and without batch norm, at the start and during training."""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import date
from itertools import islice

import torch
from torch import nn

from models import build
from paper import study
from paper.options import Options
from paper.probes import probe_blocks, probe_layers, without_batch_norm
from paper.results import Results, Row, read
from paper.runs import machine
from resserve.errors import ResServeError
from training.device import autocast, choose_device, choose_precision
from training.loader import Batch
from training.loop import train_epoch
from training.recipes import PAPER

DEPTHS = (20, 32, 44, 56, 110)
STEPS = 100  # of training at the paper's rate: enough to leave the start, short enough for 110 layers
BATCH = 128
# Batch norm or none, and the gain of the initialisation; see probes.without_batch_norm.
KINDS = (("bn", 2), ("none", 2), ("none", 1), ("none", 4))
TRAINED = KINDS[:2]


def measure(options: Options) -> Results:
    """Probe every network that the results there are lack, keeping them after each.

    Raises:
        ResServeError: the images cannot be read, or the results there are of other images.
    """
    empty = Results(experiment="gradients", tables={"networks": [], "layers": [], "blocks": []})
    results = read(options.out / "results", "gradients") or empty
    results.facts["data"] = study.same_data(results, options)
    results.facts |= {"steps": STEPS, "machine": machine(), "date": date.today().isoformat()}
    done = {row["key"] for row in results.tables["networks"]}
    for key, network, (norm, gain), seed in _wanted(options):
        if key in done or not options.budget.allows():
            continue
        start = {"key": key, "network": network, "norm": norm, "gain": gain, "seed": seed}
        results.tables["networks"].append(_probe(results, start, options))
        results.write(options.out / "results")
        options.say(f"{key}: probed")
    return results


def _wanted(options: Options) -> Iterator[tuple[str, str, tuple[str, int], int]]:
    for seed in range(1, options.seeds + 1):
        for depth in options.depths or DEPTHS:
            for family in ("plain", "resnet"):
                for norm, gain in KINDS:
                    yield f"{family}{depth}-{norm}-{gain}-seed{seed}", f"{family}{depth}", (norm, gain), seed


def _probe(results: Results, start: Row, options: Options) -> Row:
    """Add the rows of one network to the tables; its own row says whether it could be trained."""
    images, seed = options.images, start["seed"]
    torch.manual_seed(seed)
    model = build(start["network"], num_classes=len(images.files.labels))
    if start["norm"] == "none":
        without_batch_norm(model, start["gain"])
    model = model.to(memory_format=torch.channels_last)
    batch = next(images.train.varied_batches(min(BATCH, len(images.train)), seed=seed, epoch=0))
    _add(results, start, 0, model, batch)
    if (start["norm"], start["gain"]) not in TRAINED:
        return {**start, "loss": "", "outcome": "not trained"}
    try:
        loss = _train(model, options, seed)
    except ResServeError:
        return {**start, "loss": "", "outcome": "diverged"}
    _add(results, start, STEPS, model, batch)
    return {**start, "loss": loss, "outcome": "trained"}


def _train(model: nn.Module, options: Options, seed: int) -> float:
    """Train a while at the paper's learning rate; the mean loss."""
    device = choose_device("cpu")  # the probes are small, and their float32 is the same everywhere there
    return train_epoch(
        model,
        islice(_endless(options, seed), STEPS),
        PAPER.optimizer(model),
        lambda _: PAPER.lr,
        first_step=0,
        device=device,
        precision=autocast(choose_precision("auto", device), device),
    ).loss


def _endless(options: Options, seed: int) -> Iterator[Batch]:
    images = options.images.train
    epoch = 1
    while True:
        yield from images.varied_batches(min(BATCH, len(images)), seed=seed, epoch=epoch)
        epoch += 1


def _add(results: Results, start: Row, step: int, model: nn.Module, batch: Batch) -> None:
    where = {**start, "step": step}
    probes = {"layers": probe_layers(model, batch)}
    if (start["norm"], start["gain"]) in TRAINED:
        probes["blocks"] = probe_blocks(model, batch)
    for table, found in probes.items():
        results.tables[table] += [
            {**where, "index": index, **asdict(probe)} for index, probe in enumerate(found, start=1)
        ]
