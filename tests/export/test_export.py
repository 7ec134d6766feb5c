"""From network to version: what the manifest says, and that a model which drifts never becomes one."""

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from export.certify import INT8_TOLERANCE
from export.export import Source, export_checkpoint, export_source, export_untrained
from export.golden import RealImages, from_folder
from export.graph import write_graph
from export.replay import BATCHES, open_session, replay, run
from models import CATALOGUE, load_checkpoint, save_checkpoint
from resserve.certificate import REFERENCE_ENGINE, Certificate
from resserve.cli import main
from resserve.errors import ResServeError
from resserve.files import sha256_file
from resserve.manifest import InputSpec, read_manifest
from tests.support.digits import digit, write_checkpoint
from tests.support.digits import scans as digits
from tests.support.service_process import RESSERVE


class Tiny(nn.Sequential):
    """The smallest network worth the name."""

    def __init__(self, *middle: nn.Module) -> None:
        super().__init__(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), *middle, nn.Linear(4, 5))


class AcrossTheBatch(nn.Module):
    """What no network may do: let one image's answer depend on its neighbours'."""

    def forward(self, x: Tensor) -> Tensor:
        return x + x.sum(dim=0, keepdim=True)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that tells digits apart."""
    path = tmp_path_factory.mktemp("trained") / "checkpoint.pt"
    write_checkpoint(path)
    return path


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of digits that it was not fitted on."""
    folder = tmp_path_factory.mktemp("scans")
    for number in range(800, 1000):
        digit(number).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def trained(checkpoint: Path, scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its float32 version."""
    repository = tmp_path_factory.mktemp("weights")
    return export_checkpoint(checkpoint, name="digits", repository=repository, golden=scans)


def _source(network: nn.Module, spec: InputSpec) -> Source:
    return Source(network=network, architecture="tiny", spec=spec, labels=list("abcde"))


def test_the_manifest_of_an_untrained_network(repository: Path) -> None:
    """It is marked untrained, carries the catalogue's counts, and certifies every batch size."""
    manifest = read_manifest(repository / "alpha" / "1")

    assert (manifest.name, manifest.version, manifest.architecture) == ("alpha", 1, "resnet20")
    assert (manifest.untrained, manifest.precision, manifest.metrics) == (True, "fp32", {})
    assert (manifest.provenance, manifest.arguments) == (None, {"num_classes": 10})
    assert (manifest.certificate.engine, manifest.certificate.compute) == (REFERENCE_ENGINE, "fp32")
    assert {name: file.bytes for name, file in manifest.files.items()} == {
        name: (repository / "alpha" / "1" / name).stat().st_size for name in ("model.onnx", "golden.npz")
    }
    assert (manifest.parameters, manifest.multiply_adds) == CATALOGUE["resnet20"].counts
    assert len(manifest.labels) == 10
    assert manifest.tools.keys() >= {"torch", "onnx", "onnxruntime", "resserve"}
    assert [entry.batch for entry in manifest.certificate.entries] == list(BATCHES)
    assert all(entry.max_abs_diff <= manifest.certificate.tolerance for entry in manifest.certificate.entries)
    assert all(entry.top1_agreement == 1 for entry in manifest.certificate.entries)


def test_the_manifest_of_a_checkpoint(checkpoint: Path, trained: Path) -> None:
    """Labels, input, metrics and the checkpoint's digest come from the checkpoint."""
    manifest = read_manifest(trained)

    saved = load_checkpoint(checkpoint)
    assert not manifest.untrained
    assert manifest.labels == saved.labels
    assert (manifest.input.height, manifest.input.width, manifest.input.resize) == (16, 16, 16)
    assert (manifest.metrics, manifest.metrics_data) == (saved.metrics, saved.metrics_data)
    provenance = manifest.provenance
    assert provenance and (provenance.kind, provenance.file) == ("checkpoint", checkpoint.name)
    assert (provenance.sha256, provenance.epoch) == (sha256_file(checkpoint), saved.epoch)
    assert (provenance.data_fingerprint, manifest.arguments) == (saved.fingerprint, saved.arguments)


def test_the_chain_of_custody_is_kept_whatever_the_recipe_holds(checkpoint: Path, tmp_path: Path) -> None:
    """Recipe, epoch and data fingerprint reach the manifest; tuples, NaN and odd file names become plain JSON."""
    odd = os.fsdecode(b"caf\xe9.pt")
    recipe = {"lr": 0.1, "steps": (30, 60), "warmup": None, "clip": float("nan"), "init": odd}
    saved = load_checkpoint(checkpoint)
    metrics = {**saved.metrics, "loss": float("inf")}
    plain = tmp_path / "checkpoint.pt"
    save_checkpoint(plain, replace(saved, recipe=recipe, epoch=7, fingerprint="f" * 64, metrics=metrics))
    path = plain.rename(tmp_path / odd)

    version = export_checkpoint(path, name="kept", repository=tmp_path / "weights")

    manifest = json.loads((version / "manifest.json").read_bytes(), parse_constant=pytest.fail)
    assert manifest["metrics"] == saved.metrics
    assert manifest["provenance"] == {
        "kind": "checkpoint",
        "file": "caf?.pt",
        "sha256": sha256_file(path),
        "data_fingerprint": "f" * 64,
        "epoch": 7,
        "recipe": {"lr": 0.1, "steps": [30, 60], "warmup": None, "clip": "NaN", "init": "caf?.pt"},
        "shortcut_padding": None,
    }


def test_int8_answers_as_float32_does(checkpoint: Path, scans: Path, trained: Path) -> None:
    """Weights are int8, the file shrinks, and answers on unseen digits are as right as those of float32."""
    small = export_checkpoint(
        checkpoint, name="small", repository=trained.parent.parent, golden=scans, precision="int8"
    )

    pictures = np.stack([np.asarray(digit(number)) for number in range(1000, 1400)])
    whole, eight = (
        run(open_session(version / "model.onnx"), pictures, 50).argmax(axis=1) for version in (trained, small)
    )
    truth = digits().target[1000:1400]
    assert (whole == eight).mean() > 0.9
    assert abs((whole == truth).mean() - (eight == truth).mean()) < 0.04
    manifest = read_manifest(small)
    largest = np.abs(np.load(small / "golden.npz")["logits"]).max()
    assert manifest.precision == "int8"
    assert manifest.certificate.tolerance == pytest.approx(INT8_TOLERANCE * largest)
    assert manifest.metrics_data == "digits, before quantisation"
    assert sorted(path.name for path in small.iterdir()) == ["golden.npz", "manifest.json", "model.onnx"]
    weights = {entry.data_type for entry in onnx.load(small / "model.onnx").graph.initializer if len(entry.dims) == 4}
    assert onnx.TensorProto.INT8 in weights
    assert (small / "model.onnx").stat().st_size < 0.5 * (trained / "model.onnx").stat().st_size


def test_int8_of_a_checkpoint_needs_its_own_kind_of_images(checkpoint: Path, tmp_path: Path) -> None:
    """Ranges found on other images can be far off, so none are guessed."""
    with pytest.raises(ResServeError, match="give --golden a folder"):
        export_checkpoint(checkpoint, name="digits", repository=tmp_path, precision="int8")


def test_a_drift_stops_the_export(spec: InputSpec, images: RealImages, tmp_path: Path) -> None:
    """A network whose answers change with the batch is right at batch 1, wrong at 2, and never becomes a version."""
    torch.manual_seed(0)

    with pytest.raises(ResServeError, match="at batch 2 drifts from PyTorch"):
        export_source(_source(Tiny(AcrossTheBatch()), spec), images, name="tiny", repository=tmp_path, precision="fp32")

    assert not list(tmp_path.iterdir())
    assert export_source(_source(Tiny(), spec), images, name="tiny", repository=tmp_path, precision="fp32").is_dir()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0])
def test_a_diverged_network_is_refused(value: float, checkpoint: Path, tmp_path: Path) -> None:
    """Logits that are not finite, or all zero, certify nothing."""
    saved = load_checkpoint(checkpoint)
    for name in ("fc.weight", "fc.bias"):
        saved.state_dict[name].fill_(value)
    save_checkpoint(tmp_path / "diverged.pt", saved)

    with pytest.raises(ResServeError, match="not finite, or all zero"):
        export_checkpoint(tmp_path / "diverged.pt", name="digits", repository=tmp_path / "weights")

    assert not (tmp_path / "weights").exists()


def test_a_frozen_batch_is_one_sentence(spec: InputSpec, images: RealImages, tmp_path: Path) -> None:
    """A file whose batch size is fixed, as exporters are known to make, does not pass for one whose batch is free."""
    write_graph(Tiny(), spec, tmp_path / "model.onnx")
    model = onnx.load(tmp_path / "model.onnx")
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, tmp_path / "model.onnx")
    bounds = Certificate(engine="x", compute="fp32", tolerance=1000, min_top1_agreement=0, entries=[])

    with pytest.raises(ResServeError, match="cannot run the model on 2 images at once"):
        replay(tmp_path / "model.onnx", images.golden, np.zeros((8, 5), np.float32), bounds)


def test_wrong_names_and_sizes_are_refused_before_work(tmp_path: Path) -> None:
    """An unknown architecture, a size its strides do not allow and a bad name are one sentence each."""
    with pytest.raises(ResServeError, match="There is no network named 'resnet5O'"):
        export_untrained("resnet5O", size=224, classes=10, name="net", repository=tmp_path / "weights")
    with pytest.raises(ResServeError, match="at least 32x32"):
        export_untrained("vgg16", size=31, classes=10, name="net", repository=tmp_path / "weights")
    with pytest.raises(ResServeError, match="cannot be a model's name"):
        export_untrained("resnet20", size=32, classes=10, name="My Net", repository=tmp_path / "weights")

    assert not (tmp_path / "weights").exists()


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["resnet152", "vgg19", "resnet1202"])
def test_the_largest_networks(architecture: str, tmp_path: Path) -> None:
    """Depth and size do not blow up logits or the tolerance."""
    entry = CATALOGUE[architecture]

    version = export_untrained(
        architecture, size=entry.input_size, classes=entry.classes, name="large", repository=tmp_path
    )

    logits = np.load(version / "golden.npz")["logits"]
    assert 1e-3 < np.abs(logits).max() < 1e3


def test_white_squares_certify_nothing(checkpoint: Path, tmp_path: Path) -> None:
    """Golden images that are all alike are refused by `resserve export`, in a sentence, and leave no version."""
    (tmp_path / "white").mkdir()
    for number in range(16):
        pixels = np.full((20, 20, 3), 255 - number % 3, np.uint8)
        Image.fromarray(pixels).save(tmp_path / "white" / f"{number}.png")
    weights = tmp_path / "weights"
    arguments = ["export", checkpoint, "--name", "net", "--repository", weights, "--golden", tmp_path / "white"]

    done = subprocess.run([RESSERVE, *arguments], capture_output=True, text=True)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == (
        "resserve: Of the 8 golden images only 1 can be told apart, where a certificate needs 4: "
        "name a --golden folder of pictures that differ."
    )
    assert not weights.exists()


def test_a_network_that_answers_everything_alike_is_refused(checkpoint: Path, scans: Path, tmp_path: Path) -> None:
    """A network whose last layer ignores the picture has logits, finite and not zero, that certify nothing."""
    saved = load_checkpoint(checkpoint)
    saved.state_dict["fc.weight"].fill_(0)
    saved.state_dict["fc.bias"].copy_(torch.arange(10))
    save_checkpoint(tmp_path / "collapsed.pt", saved)

    with pytest.raises(ResServeError, match="with 1 different rows of logits"):
        export_checkpoint(tmp_path / "collapsed.pt", name="digits", repository=tmp_path / "weights", golden=scans)

    assert not (tmp_path / "weights").exists()


def test_a_background_for_transparent_pictures(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--background is in the input spec and behind the golden images; without it alpha is dropped."""
    (tmp_path / "scans").mkdir()
    for number in range(800, 816):
        scan = digit(number).convert("RGBA")
        scan.putalpha(scan.getchannel("R").point(lambda value: 255 if value > 99 else 0))
        scan.save(tmp_path / "scans" / f"{number}.png")
    arguments = ["export", checkpoint, "--name", "blue", "--repository", tmp_path / "weights"]
    arguments += ["--golden", tmp_path / "scans", "--background"]

    def export(colour: str) -> int | str | None:
        monkeypatch.setattr("sys.argv", ["resserve", *map(str, arguments), colour])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code

    assert export("#0000fe") == 0
    assert export("see-through") == 2

    blue = tmp_path / "weights" / "blue" / "1"
    spec = read_manifest(blue).input
    assert spec.background == (0, 0, 254)
    laid = np.load(blue / "golden.npz")["images"]
    plain = from_folder(tmp_path / "scans", spec.model_copy(update={"background": None})).golden
    see_through = (plain <= 99).all(axis=-1)
    assert see_through.any()
    assert (laid[see_through] == (0, 0, 254)).all()
    assert np.array_equal(laid[~see_through], plain[~see_through])
