"""Sentences about weights that are no checkpoint of ours, or of another network: what was seen and what to do."""

import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.catalogue import CATALOGUE

_SHOWN = 3  # names, of which a file may have hundreds


def is_state_dict(content: object) -> bool:
    """Whether this is a dictionary of tensors by name, as `Module.state_dict` returns it."""
    return (
        isinstance(content, Mapping)
        and bool(content)
        and all(isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items())
    )


def describe(content: object) -> str:
    """A file's content with its first keys, e.g. "a plain state_dict (conv1.weight, bn1.weight, …, 122 tensors)"."""
    if not isinstance(content, Mapping):
        return f"a {type(content).__name__}"
    if is_state_dict(content):
        return f"a plain state_dict ({first(content)}, {len(content)} tensors)"
    return f"a dictionary ({first(content)})" if content else "an empty dictionary"


def first(names: Iterable[Any]) -> str:
    """The first few names."""
    listed = [str(name)[:60] for name in names]
    return ", ".join([*listed[:_SHOWN], *(["…"] if len(listed) > _SHOWN else [])])


def architecture_of(state: Mapping[str, Tensor]) -> str | None:
    """The first network of the catalogue that these weights fit, whatever the number of their classes."""
    for name, entry in CATALOGUE.items():
        with torch.device("meta"):
            model = entry.build()
        own, head = model.state_dict(), head_of(model)
        if own.keys() == state.keys() and all(
            own[key].shape[1:] == value.shape[1:] if key.startswith(f"{head}.") else own[key].shape == value.shape
            for key, value in state.items()
        ):
            return name
    return None


def head_of(model: nn.Module) -> str:
    """The name of the layer whose outputs are the logits."""
    return [name for name, module in model.named_modules() if isinstance(module, nn.Linear)][-1]


def how_to_unwrap(path: Path, content: object) -> str | None:
    """The command that takes a state_dict out of what is around it; None where there is none inside."""
    if not isinstance(content, Mapping):
        return None
    for key, part in content.items():
        if is_state_dict(part):
            taken = f"torch.load({str(path)!r}, weights_only=True, map_location='cpu')[{key!r}]"
            return f"`python -c \"import torch; torch.save({taken}, 'weights.pth')\"`"
    return None


def why_unread(path: Path) -> str:
    """A predicate for a file that torch.load refuses: its format, and the way to the weights in it."""
    with path.open("rb") as file:
        start = file.read(16)
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size:
        taken = f"from safetensors.torch import load_file; torch.save(load_file({str(path)!r}), 'weights.pth')"
        return f'is a safetensors file; convert it by `python -c "import torch; {taken}"`'
    if zipfile.is_zipfile(path) and any(name.endswith("/constants.pkl") for name in zipfile.ZipFile(path).namelist()):
        taken = f"torch.save(dict(torch.jit.load({str(path)!r}, map_location='cpu').state_dict()), 'weights.pth')"
        return f'is a TorchScript program; take out the weights by `python -c "import torch; {taken}"`'
    if start.startswith(b"\x89HDF"):
        return "is an HDF5 file, as Keras writes them; give weights of PyTorch"
    return (
        "is damaged, or holds pickled objects, which could run code and are never opened; of a whole model save the "
        "weights alone, torch.save(model.state_dict(), 'weights.pth')"
    )
