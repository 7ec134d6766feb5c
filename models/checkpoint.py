"""The one file that training leaves and export reads: weights, and all that is needed to use them."""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models import recognise
from models.catalogue import build
from resserve.errors import ResServeError

FORMAT = "resserve.checkpoint/1"

Triple = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A trained network and where it came from.

    Attributes:
        architecture: a name of the catalogue.
        arguments: the keyword arguments of `models.build`.
        state_dict: every parameter and buffer, named as torchvision names them.
        labels: the classes' names, in the order of the logits.
        input_size: side of the square crop, in pixels.
        resize: pixels of the shorter side before the crop.
        interpolation: how images were resized.
        mean: of red, green and blue, of values in [0, 1].
        std: of the same.
        recipe: how it was trained.
        epoch: whole epochs trained.
        metrics: e.g. top1, from 0 to 1, and loss.
        metrics_data: what they were measured on.
        fingerprint: of the data set.
        training_state: optimizer, schedule and random state, to train on; None in a checkpoint to be used only.
    """

    architecture: str
    arguments: dict[str, Any]
    state_dict: dict[str, Tensor]
    labels: list[str]
    input_size: int
    resize: int
    interpolation: str = "bilinear"
    mean: Triple = (0.485, 0.456, 0.406)
    std: Triple = (0.229, 0.224, 0.225)
    recipe: dict[str, Any] = field(default_factory=dict)
    epoch: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    metrics_data: str = ""
    fingerprint: str = ""
    training_state: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        classes = self.arguments.get("num_classes", len(self.labels))
        if len(self.labels) != classes:
            raise ResServeError(
                f"The checkpoint has {len(self.labels)} labels for a network of {classes} classes; give each class one."
            )

    def build_model(self) -> nn.Module:
        """The network with these weights, on the CPU, in training mode as every new module.

        Raises:
            ResServeError: the architecture is unknown, or the weights are of another network.
        """
        # On the meta device nothing is initialised that the weights would then replace.
        try:
            with torch.device("meta"):
                model = build(self.architecture, **self.arguments)
        except TypeError:
            raise ResServeError(
                f"The arguments of {self.architecture} were written by another version of ResServe; "
                "train again with this one."
            ) from None
        model.to_empty(device="cpu")
        try:
            model.load_state_dict(self.state_dict)
        except RuntimeError as error:
            last = str(error).splitlines()[-1].strip()
            raise ResServeError(
                f"The weights do not fit {self.architecture}: {last[:200]} "
                "Use the checkpoint with the architecture and arguments it was trained with."
            ) from None
        return model


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint whole or not at all: until the last moment, `path` keeps what it held.

    A path has one writer at a time: what a killed one left beside it is written over.

    Raises:
        ResServeError: the file cannot be written, e.g. as the disk is full.
        pickle.UnpicklingError: the checkpoint holds more than tensors, numbers, strings and plain containers.
    """
    # dataclasses.asdict would copy every tensor.
    content = {entry.name: getattr(checkpoint, entry.name) for entry in fields(checkpoint)}
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            torch.save({"format": FORMAT, **content}, file)
            file.flush()
            os.fsync(file.fileno())
        # What could not be read back must not replace what could.
        torch.load(partial, weights_only=True, mmap=True, map_location="cpu")
        partial.replace(path)
        _sync(path.parent)
    except (OSError, RuntimeError) as error:
        # torch.save reports a full disk as an internal failure, in whose context stands the system's own error.
        cause = error.__context__ if isinstance(error.__context__, OSError) else error
        reason = getattr(cause, "strerror", None) or str(cause).splitlines()[0]
        raise ResServeError(
            f"Cannot write the checkpoint {path} ({reason}); free space or choose another folder."
        ) from error
    finally:
        with suppress(OSError):
            partial.unlink()


def _sync(folder: Path) -> None:
    """Make a rename in the folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint to the CPU, without ever running code that a file may hold.

    Raises:
        ResServeError: the file cannot be read, is damaged, or is not a checkpoint of ours.
    """
    content = read_content(path)
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        raise ResServeError(_no_checkpoint(path, content))
    try:
        return Checkpoint(**content)
    except TypeError:
        raise ResServeError(f"{path} was written by another version of ResServe; train again with this one.") from None


def read_content(path: Path) -> Any:
    """Read what torch.save wrote to the CPU: tensors, numbers, strings and containers of them.

    Raises:
        ResServeError: the file cannot be read, is damaged, or holds objects of code, which never run.
    """
    try:
        return torch.load(path, weights_only=True, map_location="cpu")
    except OSError as error:
        inside = path / "checkpoint.pt"
        advice = f"; give {inside}" if inside.is_file() else "; give the file that `resserve train` wrote"
        raise ResServeError(f"Cannot read the checkpoint {path} ({error.strerror}){advice}.") from None
    except Exception:  # a damaged file makes the unpickler raise nearly anything
        raise ResServeError(f"{path} is no checkpoint: it {recognise.why_unread(path)}.") from None


def _no_checkpoint(path: Path, content: object) -> str:
    start = f"{path} holds {recognise.describe(content)}, where a checkpoint of `resserve train` is looked for"
    if isinstance(content, Mapping) and recognise.is_state_dict(content):
        name = recognise.architecture_of(content)
        weights = f"the weights are a {name}'s: make one" if name else "make one"
        train = f"`resserve train {name or 'ARCH'} --data FOLDER --out DIR --init {path}`"
        return f"{start}, which has labels and preprocessing, too; {weights} by {train}, and export that."
    if unwrap := recognise.how_to_unwrap(path, content):
        return f"{start}; take out the weights by {unwrap}, and start a training from them by --init weights.pth."
    return f"{start}; give a file that training wrote."
