"""Weights to start from: another checkpoint of ours, or a state_dict as torchvision publishes them."""

from pathlib import Path

from torch import Tensor, nn

from models import recognise
from models.checkpoint import read_content
from resserve.errors import ResServeError


def load_initial(path: Path, model: nn.Module, architecture: str) -> str:
    """Load weights into a model, all but a classifier head of another number of classes.

    Args:
        path: a checkpoint, or a file with a state_dict.
        model: filled in place.
        architecture: the model's name.

    Returns:
        A sentence that says what was loaded, and whether the head was replaced.

    Raises:
        ResServeError: the file is not readable, or its weights are of another network.
    """
    state = _read_state(path, architecture)
    head = recognise.head_of(model)
    own = model.state_dict()
    weight = state.get(f"{head}.weight")
    replaced = weight is not None and weight.shape != own[f"{head}.weight"].shape
    if replaced:
        state = {**state, **{name: own[name] for name in (f"{head}.weight", f"{head}.bias")}}
    _check_fit(path, state, own, architecture)
    model.load_state_dict(state)
    if not replaced:
        return f"Started from {path}."
    classes = len(own[f"{head}.weight"])
    return f"Started from {path}, whose head of {len(weight)} classes was replaced by a new one of {classes}."


def _read_state(path: Path, architecture: str) -> dict[str, Tensor]:
    content = read_content(path)
    if isinstance(content, dict) and "architecture" in content:
        other = content["architecture"]
        if other != architecture:
            raise ResServeError(
                f"{path} is a {other}, not a {architecture}; start from it by `resserve train {other} --init {path}`, "
                "or choose another --init."
            )
        content = content["state_dict"]
    if not recognise.is_state_dict(content):
        unwrap = recognise.how_to_unwrap(path, content)
        advice = f"take it out by {unwrap}, and give --init weights.pth" if unwrap else "choose another --init"
        raise ResServeError(
            f"{path} holds {recognise.describe(content)}, where a checkpoint or a state_dict is looked for; {advice}."
        )
    return content


def _check_fit(path: Path, state: dict[str, Tensor], own: dict[str, Tensor], architecture: str) -> None:
    fault = next(filter(None, (_fault(name, state, own) for name in [*own, *state])), None)
    if fault is None:
        return
    fitting = recognise.architecture_of(state)
    if fitting:
        advice = f"they are a {fitting}'s: `resserve train {fitting} --init {path}`"
    elif all(name.startswith("module.") for name in state):
        advice = "they were saved from a DataParallel: save model.module.state_dict() instead"
    else:
        advice = "choose another --init, whose names are torchvision's"
    raise ResServeError(
        f"The weights in {path} do not fit {architecture}: {fault}; seen are {recognise.first(state)} "
        f"({len(state)} tensors), looked for {recognise.first(own)} ({len(own)}); {advice}."
    )


def _fault(name: str, state: dict[str, Tensor], own: dict[str, Tensor]) -> str | None:
    if name not in state:
        return f"they lack {name}"
    if name not in own:
        return f"it has no {name}"
    if state[name].shape != own[name].shape:
        return f"{name} is {list(state[name].shape)} instead of {list(own[name].shape)}"
    return None
