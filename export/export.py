"""From a checkpoint, or an untrained network, to a certified version in the model repository."""

import datetime
import importlib.metadata
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from export.certify import Precision, certify, reference_logits
from export.golden import RealImages, from_folder, packaged
from export.graph import write_graph
from export.repository import check_name, new_version, publish
from models import CATALOGUE, Checkpoint, build, count, find, load_checkpoint
from resserve.errors import ResServeError
from resserve.files import GOLDEN, MODEL, sha256_file
from resserve.golden import check_varied
from resserve.images.pixels import Colour
from resserve.manifest import FileRecord, InputSpec, Manifest, Provenance

# Metrics are training's, of the float32 network.
_MEASURED = {"fp32": "", "int8": ", before quantisation"}

_TOOLS = ("resserve", "torch", "torchvision", "onnx", "onnxscript", "onnxruntime", "numpy")


@dataclass(frozen=True, kw_only=True)
class Source:
    """A network to export and what its manifest says about it."""

    network: nn.Module
    architecture: str
    spec: InputSpec
    labels: list[str]
    arguments: dict[str, Any] = field(default_factory=dict)
    untrained: bool = False
    metrics: dict[str, float] = field(default_factory=dict)
    metrics_data: str = ""
    provenance: Provenance | None = None


def export_checkpoint(
    path: Path,
    *,
    name: str,
    repository: Path,
    precision: Precision = "fp32",
    golden: Path | None = None,
    background: Colour | None = None,
) -> Path:
    """Export a trained checkpoint.

    Args:
        path: what `resserve train` wrote.
        name: the model's name in the repository.
        repository: the folder of all models.
        precision: of weights and activations.
        golden: a folder of images to certify with, and to calibrate int8 with, which needs it; None takes the photos
            inside scikit-learn.
        background: RGB behind transparent pictures, as the service will have it; None drops alpha.

    Returns:
        The folder of the new version.

    Raises:
        ResServeError: the checkpoint, the name or the images cannot be used, or the exported model drifts. Nothing is
            left in the repository then.
    """
    check_name(name)
    if str(path) in CATALOGUE and not path.exists():
        raise ResServeError(
            f"There is no file {path}, which is a network's name; export a checkpoint of it, or random weights by "
            f"`resserve export {path} --untrained --name {name}`."
        )
    checkpoint = load_checkpoint(path)
    if precision == "int8" and golden is None:
        raise ResServeError(
            "int8 takes the ranges of activations from images like those the model will see: "
            "give --golden a folder of them."
        )
    spec = InputSpec(
        height=checkpoint.input_size,
        width=checkpoint.input_size,
        resize=checkpoint.resize,
        interpolation=checkpoint.interpolation,
        background=background,
        mean=checkpoint.mean,
        std=checkpoint.std,
    )
    source = Source(
        network=checkpoint.build_model(),
        architecture=checkpoint.architecture,
        arguments=checkpoint.arguments,
        spec=spec,
        labels=checkpoint.labels,
        metrics=checkpoint.metrics,
        metrics_data=checkpoint.metrics_data,
        provenance=_provenance(path, checkpoint),
    )
    return export_source(source, _real_images(golden, spec), name=name, repository=repository, precision=precision)


def export_untrained(
    architecture: str,
    *,
    size: int,
    classes: int,
    name: str,
    repository: Path,
    precision: Precision = "fp32",
    golden: Path | None = None,
) -> Path:
    """Export a network with random weights, always the same ones: to measure latency, not to classify.

    Args:
        architecture: a name of the catalogue.
        size: side of the square input, in pixels.
        classes: width of the logits.
        name: see export_checkpoint, as for the others.
        repository: the folder of all models.
        precision: of weights and activations.
        golden: a folder of images to certify with; None takes the photos inside scikit-learn.

    Returns:
        The folder of the new version.

    Raises:
        ResServeError: as export_checkpoint.
    """
    check_name(name)
    if Path(architecture).is_file():
        raise ResServeError(f"{architecture} is a file; export it by `resserve export {architecture} --name {name}`.")
    find(architecture).check_size(size, size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build(architecture, num_classes=classes)
    spec = InputSpec(
        height=size,
        width=size,
        resize=round(size * 256 / 224),
        mean=(0.485, 0.456, 0.406),  # ImageNet's
        std=(0.229, 0.224, 0.225),
    )
    images = _real_images(golden, spec)
    _settle_batch_norms(network, images, spec)
    source = Source(
        network=network,
        architecture=architecture,
        arguments={"num_classes": classes},
        spec=spec,
        labels=[f"class {index}" for index in range(classes)],
        untrained=True,
    )
    return export_source(source, images, name=name, repository=repository, precision=precision)


def _real_images(folder: Path | None, spec: InputSpec) -> RealImages:
    return from_folder(folder, spec) if folder else packaged(spec)


def _settle_batch_norms(network: nn.Module, images: RealImages, spec: InputSpec) -> None:
    """Give batch norms the statistics of real images: with their initial ones, logits of deep networks explode."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    network.train()
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (spec.mean, spec.std))
    with torch.no_grad():
        network((torch.from_numpy(images.golden).permute(0, 3, 1, 2) / 255 - mean) / std)


def export_source(source: Source, images: RealImages, *, name: str, repository: Path, precision: Precision) -> Path:
    """Write the graph, certify it and publish it; the folder of the new version.

    Raises:
        ResServeError: the exported model drifts, or cannot be written. Nothing is left in the repository then.
    """
    check_name(name)
    logits = reference_logits(source.network, images.golden, source.spec)
    check_varied(images.golden, logits)
    with new_version(repository) as folder:
        write_graph(source.network, source.spec, folder / MODEL)
        if precision == "int8":
            # Here, not above: onnxruntime.quantization puts a folder with a `models` of its own on sys.path.
            from export.quantise import write_int8

            write_int8(folder / MODEL, images.calibration, folder / "int8.onnx")
            (folder / "int8.onnx").replace(folder / MODEL)
        certificate = certify(folder / MODEL, images.golden, logits, precision=precision, untrained=source.untrained)
        np.savez_compressed(folder / GOLDEN, images=images.golden, logits=logits)
        counts = count(source.network, source.spec.height, source.spec.width)
        manifest = Manifest(
            name=name,
            version=1,  # publish() finds the number
            architecture=source.architecture,
            arguments=_plain(source.arguments),
            precision=precision,
            untrained=source.untrained,
            parameters=counts.parameters,
            multiply_adds=counts.multiply_adds,
            input=source.spec,
            labels=source.labels,
            metrics={key: value for key, value in source.metrics.items() if math.isfinite(value)},  # JSON has no others
            metrics_data=source.metrics_data and f"{source.metrics_data}{_MEASURED[precision]}",
            files={file: FileRecord.of(folder / file) for file in (MODEL, GOLDEN)},
            provenance=source.provenance,
            tools={tool: importlib.metadata.version(tool) for tool in _TOOLS},
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            certificates=[certificate],
        )
        return publish(folder, manifest)


def _provenance(path: Path, checkpoint: Checkpoint) -> Provenance:
    return Provenance(
        kind="checkpoint",
        file=path.name.encode(errors="replace").decode(),
        sha256=sha256_file(path),
        data_fingerprint=checkpoint.fingerprint,
        epoch=checkpoint.epoch,
        recipe=_plain(checkpoint.recipe),
    )


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """The values as JSON has them: a recipe may hold tuples, NaN, or the path of a file that is not named in UTF-8."""
    text = json.dumps(values, default=str, skipkeys=True, ensure_ascii=False)
    return json.loads(text.encode(errors="replace"), parse_constant=str)
