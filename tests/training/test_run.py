import csv
from dataclasses import asdict, replace
from io import StringIO
from pathlib import Path

import pytest
import torch
import torchvision
from PIL import Image
from rich.console import Console

from models import Checkpoint, build, load_checkpoint, save_checkpoint
from resserve.errors import ResServeError
from tests.training.conftest import Painter
from training.config import TrainConfig
from training.history import Epoch
from training.images import read_rgb, served
from training.loop import Normalise
from training.run import Outcome, train


@pytest.fixture
def config(paint: Painter, tmp_path: Path) -> TrainConfig:
    """Two epochs of a small network on two colours."""
    paint("val", blue=6, red=6)
    data = paint("train", blue=12, red=12)
    return TrainConfig(
        architecture="resnet20", data=str(data), out=tmp_path / "out", epochs=2, batch=4, size=16, device="cpu"
    )


def run(config: TrainConfig, **changes: object) -> tuple[Outcome, str]:
    """Train quietly; the outcome and what people were told."""
    told = StringIO()
    return train(replace(config, **changes), console=Console(file=told)), told.getvalue()


def stop_after_one_epoch(config: TrainConfig) -> None:
    """Interrupt a run as Ctrl-C does, when its first epoch is saved."""

    def interrupt(_: Epoch) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, console=Console(file=StringIO()), on_epoch=interrupt)


def judge(checkpoint: Checkpoint, folder: Path) -> float:
    """Top-1 on a folder of images, computed anew."""
    model = checkpoint.build_model().eval()
    transform = served(checkpoint.input_size, checkpoint.resize)
    paths = sorted(folder.rglob("*.png"))
    images = torch.stack([transform(read_rgb(path)) for path in paths])
    with torch.inference_mode():
        answers = model(Normalise()(images)).argmax(1).tolist()
    right = [checkpoint.labels[answer] == path.parent.name for answer, path in zip(answers, paths, strict=True)]
    return sum(right) / len(right)


def test_a_run_leaves_a_checkpoint_that_does_what_it_says(config: TrainConfig) -> None:
    """The network learns, and the checkpoint alone gives the accuracy that was reported."""
    outcome, told = run(config, epochs=8, lr=0.02)

    saved = load_checkpoint(outcome.checkpoint)
    assert outcome.top1 >= 0.9
    assert saved.metrics["top1"] == outcome.top1 == pytest.approx(judge(saved, Path(config.data, "val")))
    assert (saved.labels, saved.input_size, saved.resize, saved.epoch) == (["blue", "red"], 16, 16, 8)
    assert saved.recipe["lr"] == 0.02
    assert saved.training_state is None
    assert "12 images of" in saved.metrics_data
    assert "epoch 8/8" in told


def test_metrics_and_curves(config: TrainConfig) -> None:
    """metrics.csv has a row for each epoch, and curves.png is a picture."""
    outcome, _ = run(config)

    with (config.out / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert float(rows[-1]["val_error"]) == pytest.approx(1 - outcome.top1, abs=1e-5)
    assert all(float(row["images_per_second"]) > 0 for row in rows)
    with Image.open(config.out / "curves.png") as curves:
        assert curves.format == "PNG"
    assert sorted(path.name for path in config.out.iterdir()) == ["checkpoint.pt", "curves.png", "metrics.csv"]


@pytest.mark.parametrize(("recipe", "precision"), [("modern", "bf16"), ("paper", "fp32")])
def test_resume_is_exact(config: TrainConfig, tmp_path: Path, recipe: str, precision: str) -> None:
    """One epoch, a stop, and one more give the very weights and figures of two epochs in one go."""
    config = replace(config, recipe=recipe, precision=precision)
    whole, _ = run(config)
    parts = replace(config, out=tmp_path / "parts")
    stop_after_one_epoch(parts)
    assert load_checkpoint(parts.checkpoint).epoch == 1

    resumed, told = run(parts, resume=True)

    assert "Going on after epoch 1 of 2" in told
    expected, got = load_checkpoint(whole.checkpoint), load_checkpoint(resumed.checkpoint)
    assert expected.state_dict.keys() == got.state_dict.keys()
    assert all(torch.equal(value, got.state_dict[name]) for name, value in expected.state_dict.items())
    for row, other in zip(whole.epochs, resumed.epochs, strict=True):
        assert asdict(replace(row, images_per_second=0, seconds=0)) == asdict(
            replace(other, images_per_second=0, seconds=0)
        )


def test_dropout_resumes_exactly(config: TrainConfig, tmp_path: Path) -> None:
    """Networks that draw random numbers while training go on with the same ones."""
    config = replace(config, architecture="alexnet", size=63, batch=12)
    whole, _ = run(config)
    parts = replace(config, out=tmp_path / "parts")
    stop_after_one_epoch(parts)

    resumed, _ = run(parts, resume=True)

    expected, got = load_checkpoint(whole.checkpoint), load_checkpoint(resumed.checkpoint)
    assert all(torch.equal(value, got.state_dict[name]) for name, value in expected.state_dict.items())


def test_a_seed_is_a_run(config: TrainConfig, tmp_path: Path) -> None:
    """The same seed gives the same weights, another gives others."""
    weights = []
    for number, seed in enumerate((0, 0, 1)):
        outcome, _ = run(config, out=tmp_path / f"run{number}", epochs=1, seed=seed)
        weights.append(load_checkpoint(outcome.checkpoint).state_dict["conv1.weight"])

    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_resume_with_nothing_to_resume(config: TrainConfig) -> None:
    """--resume starts afresh where there is no checkpoint, and returns at once where all is done."""
    first, _ = run(config, resume=True)
    before = first.checkpoint.stat().st_mtime_ns

    second, told = run(config, resume=True)

    assert "is trained: 2 epochs" in told
    assert (second.top1, second.epoch, second.epochs) == (first.top1, 2, [])
    assert second.checkpoint.stat().st_mtime_ns == before


def test_a_run_is_not_overwritten(config: TrainConfig) -> None:
    """Without --resume, a folder that holds a run is refused."""
    run(config)

    with pytest.raises(ResServeError, match="holds a run already; go on with it by --resume"):
        run(config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "plain20"}, "was trained with architecture resnet20, not plain20"),
        ({"epochs": 3}, "was trained with epochs 2, not 3"),
        ({"shortcut": "B"}, "was trained with shortcut A, not B"),
        ({"size": 24}, "was trained with size 16, not 24"),
        ({"seed": 1}, "was trained with seed 0, not 1"),
    ],
)
def test_resume_of_another_run(config: TrainConfig, changes: dict[str, object], message: str) -> None:
    """A checkpoint of another run is refused, naming the difference."""
    stop_after_one_epoch(config)

    with pytest.raises(ResServeError, match=message):
        run(config, resume=True, **changes)


def test_resume_with_other_images(config: TrainConfig, paint: Painter) -> None:
    """A run does not go on with other images."""
    stop_after_one_epoch(config)
    paint("train", blue=13)

    with pytest.raises(ResServeError, match="was trained on other images"):
        run(config, resume=True)


def test_fine_tuning_from_our_checkpoint(config: TrainConfig, paint: Painter, tmp_path: Path) -> None:
    """--init takes the weights; for another number of classes the head is new, and that is said."""
    first, _ = run(config)
    data = paint("", root="three", blue=5, red=5, green=5)

    outcome, told = run(
        config, data=str(data), out=tmp_path / "tuned", init=first.checkpoint, epochs=1, batch=4, lr=1e-9, warmup=0.0
    )

    assert f"Started from {first.checkpoint}, whose head of 2 classes was replaced by a new one of 3." in told
    old, new = load_checkpoint(first.checkpoint), load_checkpoint(outcome.checkpoint)
    assert torch.allclose(old.state_dict["conv1.weight"], new.state_dict["conv1.weight"], atol=1e-6)
    assert new.state_dict["fc.weight"].shape[0] == 3


@pytest.mark.parametrize("classes", [2, 1000])
def test_fine_tuning_from_torchvision(config: TrainConfig, tmp_path: Path, classes: int) -> None:
    """--init takes a state_dict as torchvision publishes them."""
    weights = torchvision.models.resnet18(num_classes=classes).state_dict()
    torch.save(weights, tmp_path / "resnet18.pth")

    outcome, told = run(
        config, architecture="resnet18", size=32, init=tmp_path / "resnet18.pth", epochs=1, batch=24, lr=1e-9
    )

    assert ("replaced" in told) == (classes != 2)
    tuned = load_checkpoint(outcome.checkpoint).state_dict
    assert torch.allclose(tuned["layer4.1.conv2.weight"], weights["layer4.1.conv2.weight"], atol=1e-6)


def test_init_of_another_network(config: TrainConfig, tmp_path: Path) -> None:
    """Weights that do not fit are refused in one sentence: what was seen, what was looked for, what works."""
    checkpoint = Checkpoint(
        architecture="resnet32",
        arguments={"num_classes": 2},
        state_dict=build("resnet32", num_classes=2).state_dict(),
        labels=["blue", "red"],
        input_size=16,
        resize=16,
    )
    state = checkpoint.state_dict
    save_checkpoint(tmp_path / "named.pt", checkpoint)
    torch.save(state, tmp_path / "bare.pth")
    torch.save({f"module.{name}": value for name, value in state.items()}, tmp_path / "parallel.pth")
    torch.save({f"backbone.{name}": value for name, value in state.items()}, tmp_path / "renamed.pth")
    torch.save({"epoch": 3, "model": state, "optimizer": {}}, tmp_path / "wrapped.pth")
    torch.save([state], tmp_path / "list.pth")
    (tmp_path / "text.pt").write_text("no weights")

    for name, message in (
        ("named.pt", "is a resnet32, not a resnet20; start from it by `resserve train resnet32 --init .*named.pt`"),
        (
            "bare.pth",
            "fit resnet20: it has no layer1.3.*; seen are conv1.weight, bn1.weight, bn1.bias, … .188 ten",
        ),
        ("bare.pth", "looked for conv1.weight.* .116.; they are a resnet32's: `resserve train resnet32 --init .*bare"),
        ("parallel.pth", "seen are module.conv1.weight.*saved from a DataParallel: save model.module.state_dict"),
        ("renamed.pth", "seen are backbone.conv1.weight, .*, looked for conv1.weight.*whose names are torchvision's"),
        ("wrapped.pth", r"a dictionary \(epoch, model, optimizer\), where .* state_dict is looked for; take it out by"),
        ("list.pth", "holds a list, where a checkpoint or a state_dict is looked for"),
        ("text.pt", "damaged, or holds pickled objects"),
        ("missing.pt", "Cannot read"),
    ):
        with pytest.raises(ResServeError, match=message):
            run(config, init=tmp_path / name)
        assert not config.checkpoint.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "resnet51"}, "no network named 'resnet51'"),
        ({"architecture": "vgg11_bn", "size": 16}, "at least 32x32"),
        ({"architecture": "vgg11_bn", "size": 32, "shortcut": "B"}, "has no shortcuts"),
        ({"recipe": "ancient"}, "choose paper or modern"),
        ({"device": "abacus"}, "no device 'abacus'"),
        ({"lr": 1e30, "warmup": 0.0}, "diverged; choose a lower --lr"),
    ],
)
def test_what_cannot_be_run(config: TrainConfig, changes: dict[str, object], message: str) -> None:
    """What cannot be trained is refused in one sentence, and no checkpoint is left."""
    with pytest.raises(ResServeError, match=message):
        run(config, **changes)

    assert not config.checkpoint.exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_no_gpu(config: TrainConfig) -> None:
    """A GPU that is not there is not silently replaced by the CPU."""
    with pytest.raises(ResServeError, match=r"There is no GPU to train on: .*use --device cpu"):
        run(config, device="cuda")
