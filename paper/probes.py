"""Norms of gradients, spreads of activations and Jacobians of blocks, measured on a network and a batch."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.resnet import BasicBlock
from paper.tracing import blocks
from training.loader import Batch
from training.loop import Normalise


def without_batch_norm(model: nn.Module, gain: float) -> nn.Module:
    """Replace every batch norm by nothing, and draw the convolutions anew.

    Args:
        model: changed in place.
        gain: variance of a weight times its convolution's fan-out. 2 is He et al. 2015, which keeps the variance of
            gradients through a ReLU; 1 is Glorot and Bengio 2010 for layers of equal width, which halves it; 4 doubles
            it.
    """
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.Identity())
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.out_channels * module.kernel_size[0] * module.kernel_size[1]
            nn.init.normal_(module.weight, std=(gain / fan_out) ** 0.5)
    return model


@dataclass(frozen=True)
class LayerProbe:
    """One convolution or linear layer under a batch.

    Attributes:
        name: of the layer.
        gradient: L2 norm of the loss's gradient with respect to its weights.
        signal: root mean square of the loss's gradient with respect to its output, times the batch size.
        spread: standard deviation of its input over the batch.
    """

    name: str
    gradient: float
    signal: float
    spread: float


def probe_layers(model: nn.Module, batch: Batch) -> list[LayerProbe]:
    """Gradients and activations of every layer on the main path, in float32 and training mode; nothing is changed.

    Args:
        model: a network of the catalogue.
        batch: images uint8 [N, 3, H, W] and labels int64 [N].
    """
    names = {
        module: name
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear) and "downsample" not in name
    }
    spreads: dict[str, float] = {}
    outputs: dict[str, Tensor] = {}

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        spreads[names[module]] = float(inputs[0].detach().double().std())
        output.retain_grad()
        outputs[names[module]] = output

    hooks = [module.register_forward_hook(note) for module in names]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    model.zero_grad(set_to_none=True)
    try:
        images, labels = batch
        functional.cross_entropy(model(Normalise()(images)), labels).backward()
    finally:
        for hook in hooks:
            hook.remove()
    found = [
        LayerProbe(
            name=name,
            gradient=float(module.weight.grad.double().norm()),  # squares of what has vanished underflow in float32
            signal=float(outputs[name].grad.double().square().mean().sqrt()) * len(labels),
            spread=spreads[name],
        )
        for module, name in names.items()
    ]
    model.zero_grad(set_to_none=True)
    model.load_state_dict(state)  # the running statistics have moved
    return found


@dataclass(frozen=True)
class BlockProbe:
    """The Jacobian J of a block y = F(x) + x, or y = F(x) without shortcut, before the last ReLU.

    Attributes:
        name: of the block.
        branch: root mean square gain |dF/dx v| / |v| over random v.
        whole: the same of dy/dx.
        diagonal: mean of dy/dx's diagonal, the share of a gradient that passes straight through.
    """

    name: str
    branch: float
    whole: float
    diagonal: float


def probe_blocks(model: nn.Module, batch: Batch, *, vectors: int = 4, seed: int = 0) -> list[BlockProbe]:
    """Jacobians of the blocks that keep their dimensions, at the inputs that a batch brings them.

    A random v of independent standard normal entries gives E|J^T v|^2 / E|v|^2 = |J|_F^2 / n, and E[v^T J v] / E|v|^2 =
    trace(J) / n (Hutchinson 1990).

    Args:
        model: a network of basic blocks.
        batch: images uint8 [N, 3, H, W] and labels, which are not used.
        vectors: random vectors for each block.
        seed: of the vectors.
    """
    inputs: dict[str, Tensor] = {}
    kept = {name: block for name, block in blocks(model).items() if keeps_dimensions(block)}
    hooks = [
        block.register_forward_pre_hook(lambda _, args, name=name: inputs.update({name: args[0].detach()}))
        for name, block in kept.items()
    ]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    with torch.no_grad():
        model(Normalise()(batch[0]))
    for hook in hooks:
        hook.remove()
    generator = torch.Generator().manual_seed(seed)
    found = [_probe_block(name, block, inputs[name], vectors, generator) for name, block in kept.items()]
    model.zero_grad(set_to_none=True)
    model.load_state_dict(state)
    return found


def keeps_dimensions(block: nn.Module) -> bool:
    """Is it a basic block whose output has the size and the channels of its input?"""
    if not isinstance(block, BasicBlock):
        return False
    first = block.conv1
    return first.stride == (1, 1) and first.in_channels == first.out_channels


def _probe_block(name: str, block: BasicBlock, x: Tensor, vectors: int, generator: torch.Generator) -> BlockProbe:
    x = x.requires_grad_()
    branch = residual_branch(block, x)
    shortcut = 0.0 if block.downsample is None else 1.0
    branch_square = whole_square = straight = length = 0.0
    for _ in range(vectors):
        v = torch.randn(branch.shape, generator=generator)
        (back,) = torch.autograd.grad(branch, x, v, retain_graph=True)
        whole = back + shortcut * v
        length += float(v.square().sum())
        branch_square += float(back.square().sum())
        whole_square += float(whole.square().sum())
        straight += float((whole * v).sum())
    return BlockProbe(name, (branch_square / length) ** 0.5, (whole_square / length) ** 0.5, straight / length)


def residual_branch(block: BasicBlock, x: Tensor) -> Tensor:
    """F(x): a basic block without its shortcut and before its last ReLU."""
    out = block.relu(block.bn1(block.conv1(x)))
    return block.bn2(block.conv2(out))
