"""What a network costs, counted from the module itself."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from resserve.errors import ResServeError


class Counts(NamedTuple):
    """The size of a network and its work for one image."""

    parameters: int
    multiply_adds: int


def count(model: nn.Module, height: int, width: int) -> Counts:
    """Count a network's parameters, and its multiply-adds for one image of 3 channels.

    Multiply-adds are those of convolutions and linear layers, biases left out: what the paper's Table 1 calls FLOPs.
    The pass runs on the meta device, so it needs no memory and leaves the model as it was.

    Raises:
        ResServeError: the network's strides leave nothing of an image of this size.
    """
    total = 0

    def add(module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        # One output element costs the weights of its output channel, in a convolution and in a linear layer.
        total += output[0].numel() * module.weight[0].numel()

    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(add) for layer in layers]
    tensors = {name: torch.empty_like(tensor, device="meta") for name, tensor in model.state_dict().items()}
    # Two images, as batch norm in training mode refuses a single value per channel.
    images = torch.empty(2, 3, height, width, device="meta")
    try:
        torch.func.functional_call(model, tensors, (images,))
    except RuntimeError as error:
        raise ResServeError(
            f"An image of {width}x{height} pixels does not fit this network ({error}); choose a larger input size."
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    return Counts(sum(parameter.numel() for parameter in model.parameters()), total)
