"""Weights to start from: another checkpoint of ours, or a state_dict as torchvision publishes them."""

import pickle
from pathlib import Path

import torch
from torch import Tensor, nn

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
    head = _head(model)
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
    try:
        content = torch.load(path, weights_only=True, map_location="cpu")
    except OSError as error:
        raise ResServeError(f"Cannot read {path} ({error.strerror}); name a checkpoint or a state_dict.") from None
    except pickle.UnpicklingError:
        raise ResServeError(
            f"{path} holds pickled objects, which could run code, so it was not opened; save its state_dict alone."
        ) from None
    except Exception:  # a damaged file makes the unpickler raise nearly anything
        raise ResServeError(f"{path} is damaged, or neither a checkpoint nor a state_dict.") from None
    if isinstance(content, dict) and "architecture" in content:
        if content["architecture"] != architecture:
            raise ResServeError(
                f"{path} is a {content['architecture']}, not a {architecture}; train that, or choose another --init."
            )
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ResServeError(f"{path} is neither a checkpoint nor a state_dict.")
    return content


def _head(model: nn.Module) -> str:
    return [name for name, module in model.named_modules() if isinstance(module, nn.Linear)][-1]


def _check_fit(path: Path, state: dict[str, Tensor], own: dict[str, Tensor], architecture: str) -> None:
    for name in [*own, *state]:
        if name not in state:
            fault = f"they lack {name}"
        elif name not in own:
            fault = f"it has no {name}"
        elif state[name].shape != own[name].shape:
            fault = f"{name} is {list(state[name].shape)} instead of {list(own[name].shape)}"
        else:
            continue
        raise ResServeError(f"The weights in {path} do not fit {architecture}: {fault}; choose another --init.")
