"""What a run is asked for, and the plan that follows from it and from the data."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from models import Checkpoint, find
from resserve.cores import usable_cores
from resserve.errors import ResServeError
from training.data import ImageData, open_data
from training.device import AUTO, choose_device, choose_precision
from training.images import default_resize
from training.recipes import Recipe, choose_recipe


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One run. What is None is the recipe's, the architecture's or the data's own.

    Attributes:
        architecture: a name of the catalogue.
        data: a folder of images, or "digits"; see `data.open_data`.
        out: the folder for checkpoint.pt, metrics.csv and curves.png.
        recipe: "paper" or "modern".
        epochs: times every training image is seen.
        size: side of the square input, in pixels.
        batch: images in an optimizer step.
        lr: the highest learning rate.
        warmup: epochs that rise to it.
        shortcut: "A", "B" or "C", for residual networks.
        mirror: mirror every other training picture.
        init: a checkpoint or state_dict to start from.
        resume: go on from the checkpoint in `out`, if there is one.
        device: "auto", "cpu", "cuda" or "cuda:N".
        precision: "auto", "fp32" or "bf16", of the forward and backward pass; weights are float32.
        seed: of the weights, the split, the order and the variations.
        workers: processes that read images; 0 reads them in the run's own.
    """

    architecture: str
    data: str
    out: Path
    recipe: str = "modern"
    epochs: int | None = None
    size: int | None = None
    batch: int | None = None
    lr: float | None = None
    warmup: float | None = None
    shortcut: str | None = None
    mirror: bool | None = None
    init: Path | None = None
    resume: bool = False
    device: str = AUTO
    precision: str = AUTO
    seed: int = 0
    workers: int | None = None

    @property
    def checkpoint(self) -> Path:
        """Where the last whole epoch is kept."""
        return self.out / "checkpoint.pt"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A run with everything decided."""

    architecture: str
    arguments: dict[str, Any]
    recipe: Recipe
    data: ImageData
    size: int
    resize: int
    mirror: bool
    init: Path | None
    device: torch.device
    precision: str
    seed: int
    workers: int

    @property
    def settings(self) -> dict[str, Any]:
        """What the result depends on besides the network and the data, for the checkpoint."""
        return {
            **asdict(self.recipe),
            "mirror": self.mirror,
            "init": str(self.init) if self.init else None,
            "precision": self.precision,
            "seed": self.seed,
        }

    def check_same(self, saved: Checkpoint, path: Path) -> None:
        """Refuse to go on with a checkpoint of another run.

        Raises:
            ResServeError: naming the first difference.
        """
        if saved.fingerprint != self.data.fingerprint or saved.labels != self.data.labels:
            raise ResServeError(f"{path} was trained on other images; name the same --data, or choose another --out.")
        theirs = {"architecture": saved.architecture, **saved.arguments, "size": saved.input_size, **saved.recipe}
        ours = {"architecture": self.architecture, **self.arguments, "size": self.size, **self.settings}
        for name, value in ours.items():
            if theirs.get(name) != value:
                raise ResServeError(
                    f"{path} was trained with {name} {theirs.get(name)}, not {value}; "
                    "give the same options to go on with it, or choose another --out."
                )


def make_plan(config: TrainConfig) -> Plan:
    """Decide everything that the configuration leaves open, before anything is written.

    Raises:
        ResServeError: something asked for does not exist or does not fit.
    """
    entry = find(config.architecture)
    device = choose_device(config.device)
    size = config.size or entry.input_size
    entry.check_size(size, size)
    recipe = choose_recipe(config.recipe, epochs=config.epochs, batch=config.batch, lr=config.lr, warmup=config.warmup)
    data = open_data(config.data, seed=config.seed)
    arguments: dict[str, Any] = {"num_classes": len(data.labels)}
    if entry.shortcut is not None:
        shortcut = arguments["shortcut"] = config.shortcut or entry.shortcut
        # With option A, which has no weights, a network of silent blocks begins with one layer and learns much later.
        arguments["zero_init_residual"] = recipe.zero_init_residual and shortcut != "A"
    elif config.shortcut is not None:
        raise ResServeError(f"{config.architecture} has no shortcuts; leave out --shortcut.")
    return Plan(
        architecture=config.architecture,
        arguments=arguments,
        recipe=recipe,
        data=data,
        size=size,
        resize=default_resize(size),
        mirror=data.mirrored if config.mirror is None else config.mirror,
        init=config.init,
        device=device,
        precision=choose_precision(config.precision, device),
        seed=config.seed,
        workers=_default_workers(device) if config.workers is None else config.workers,
    )


def _default_workers(device: torch.device) -> int:
    # On a CPU the network takes all cores, and readers beside it only make it wait.
    return 0 if device.type == "cpu" else min(8, max(1, usable_cores() - 1))
