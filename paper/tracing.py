"""The layers of a network in the order an image passes them, read off the module itself."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.resnet import BasicBlock, Bottleneck

LAYERS = (nn.Conv2d, nn.Linear, nn.MaxPool2d, nn.AdaptiveAvgPool2d)


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer as a forward pass met it.

    Attributes:
        name: of the module in its network.
        module: the layer.
        input_size: side of the square that enters it; 1 for a linear layer.
        output_size: side of the square that leaves it.
        channels: channels, or features, that leave it.
        is_shortcut: it lies on a shortcut, beside the network's main path.
    """

    name: str
    module: nn.Module
    input_size: int
    output_size: int
    channels: int
    is_shortcut: bool

    @property
    def has_weights(self) -> bool:
        """Is it counted as a layer? The paper counts convolutions and fully connected layers (section 3.3)."""
        return isinstance(self.module, nn.Conv2d | nn.Linear)

    @property
    def parameters(self) -> int:
        """Weights and biases; batch norms are not layers, and not in it."""
        return sum(parameter.numel() for parameter in self.module.parameters())

    @property
    def multiply_adds(self) -> int:
        """For one image."""
        if not self.has_weights:
            return 0
        return self.channels * self.output_size**2 * self.module.weight[0].numel()


def trace(model: nn.Module, size: int) -> list[Layer]:
    """Every convolution, pooling and linear layer of a network on the meta device, in the order of a forward pass.

    Args:
        model: built on the meta device, and of no use afterwards.
        size: side of the image, in pixels.
    """
    layers: list[Layer] = []
    names = {module: name for name, module in model.named_modules()}

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        name = names[module]
        layers.append(
            Layer(
                name=name,
                module=module,
                input_size=_side(inputs[0]),
                output_size=_side(output),
                channels=output.shape[1],
                is_shortcut="downsample" in name.split("."),
            )
        )

    for module in names:
        if isinstance(module, LAYERS):
            module.register_forward_hook(note)
        elif isinstance(module, nn.BatchNorm2d):
            module.forward = nn.Identity()  # keeps every shape, and takes nearly all of a pass on the meta device
    model(torch.empty(2, 3, size, size, device="meta"))
    return layers


def _side(tensor: Tensor) -> int:
    return tensor.shape[-1] if tensor.ndim == 4 else 1


def blocks(model: nn.Module) -> dict[str, BasicBlock | Bottleneck]:
    """The building blocks by name, in the order of a forward pass."""
    return {name: module for name, module in model.named_modules() if isinstance(module, BasicBlock | Bottleneck)}
