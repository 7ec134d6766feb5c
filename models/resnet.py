"""The residual networks of He et al. 2015 (arXiv 1512.03385) and their plain counterparts."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from models.initialisation import initialise

Shortcut = Literal["A", "B", "C"]


class PaddedIdentity(nn.Module):
    """Shortcut option A (section 3.3): the input, strided, with zeros for the channels it lacks; no parameters.

    [N, in_channels, H, W] becomes [N, out_channels, ceil(H / stride), ceil(W / stride)].
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.extra_channels = out_channels - in_channels

    def forward(self, x: Tensor) -> Tensor:
        """Take every stride-th pixel and append the zero channels."""
        strided = x[:, :, :: self.stride, :: self.stride]
        return nn.functional.pad(strided, (0, 0, 0, 0, 0, self.extra_channels))

    def extra_repr(self) -> str:
        """What `print(model)` shows."""
        return f"extra_channels={self.extra_channels}, stride={self.stride}"


def _shortcut(option: Shortcut | None, in_channels: int, out_channels: int, stride: int) -> nn.Module | None:
    if option is None:
        return None
    changes = stride != 1 or in_channels != out_channels
    if option == "C" or (option == "B" and changes):
        return nn.Sequential(_conv(in_channels, out_channels, 1, stride), nn.BatchNorm2d(out_channels))
    return PaddedIdentity(in_channels, out_channels, stride) if changes else nn.Identity()


def _conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions (Figure 5, left): [N, in_channels, H, W] becomes [N, width, H / stride, W / stride].

    Args:
        in_channels: channels of the input.
        width: channels of both convolutions and of the output.
        stride: of the first convolution, and of the shortcut.
        shortcut: option A, B or C; None makes the plain block, which has no shortcut.
        stride_in_1x1: has no meaning here, as there is no 1x1 convolution; see Bottleneck.
    """

    expansion = 1

    def __init__(
        self, in_channels: int, width: int, stride: int, shortcut: Shortcut | None, stride_in_1x1: bool = False
    ) -> None:
        super().__init__()
        self.conv1 = _conv(in_channels, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = _conv(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(shortcut, in_channels, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Run the block."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.downsample is not None:
            out = out + self.downsample(x)
        return self.relu(out)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions (Figure 5, right): the output has 4 * width channels.

    The stride is in the 3x3, as in torchvision ("ResNet v1.5"), which is more accurate for slightly more work.
    The paper's networks have it in the first 1x1: `stride_in_1x1` builds those.

    Args:
        in_channels: channels of the input.
        width: channels of the first two convolutions.
        stride: of the block.
        shortcut: option A, B or C; None makes a block without shortcut.
        stride_in_1x1: put the stride in the first 1x1 convolution.
    """

    expansion = 4

    def __init__(
        self, in_channels: int, width: int, stride: int, shortcut: Shortcut | None, stride_in_1x1: bool = False
    ) -> None:
        super().__init__()
        out_channels = width * self.expansion
        self.conv1 = _conv(in_channels, width, 1, stride if stride_in_1x1 else 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, 3, 1 if stride_in_1x1 else stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = _conv(width, out_channels, 1)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(shortcut, in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Run the block."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        if self.downsample is not None:
            out = out + self.downsample(x)
        return self.relu(out)


Block = type[BasicBlock] | type[Bottleneck]


def imagenet_resnet(
    block: Block,
    depths: Sequence[int],
    *,
    num_classes: int,
    shortcut: Shortcut | None,
    stride_in_1x1: bool = False,
    zero_init_residual: bool = False,
) -> nn.Sequential:
    """The networks of Table 1: float [N, 3, H, W] to logits [N, num_classes].

    Parameter names, shapes and order are torchvision's for shortcut option B.

    Args:
        block: BasicBlock or Bottleneck.
        depths: blocks of the four stages.
        num_classes: width of the logits.
        shortcut: option A, B or C; None builds the plain network.
        stride_in_1x1: see Bottleneck.
        zero_init_residual: start with the last batch norm of every block at zero, so that each block starts as
            its shortcut (Goyal et al. 2017, section 5.1).
    """
    stem = OrderedDict(
        conv1=nn.Conv2d(3, 64, kernel_size=7, stride=2, padding=3, bias=False),
        bn1=nn.BatchNorm2d(64),
        relu=nn.ReLU(inplace=True),
        maxpool=nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
    )
    stages = _stages(block, depths, (64, 128, 256, 512), 64, shortcut, stride_in_1x1)
    return _assemble(stem, stages, 512 * block.expansion, num_classes, zero_init_residual)


def cifar_resnet(
    n: int, *, num_classes: int, shortcut: Shortcut | None, zero_init_residual: bool = False
) -> nn.Sequential:
    """The networks of section 4.2, with 6n + 2 layers: float [N, 3, H, W] to logits [N, num_classes].

    Args:
        n: basic blocks in each of the three stages of 16, 32 and 64 channels.
        num_classes: width of the logits.
        shortcut: option A (the paper's here), B or C; None builds the plain network.
        zero_init_residual: see imagenet_resnet.
    """
    stem = OrderedDict(conv1=_conv(3, 16, 3), bn1=nn.BatchNorm2d(16), relu=nn.ReLU(inplace=True))
    stages = _stages(BasicBlock, (n, n, n), (16, 32, 64), 16, shortcut, stride_in_1x1=False)
    return _assemble(stem, stages, 64, num_classes, zero_init_residual)


def _stages(
    block: Block,
    depths: Sequence[int],
    widths: Sequence[int],
    in_channels: int,
    shortcut: Shortcut | None,
    stride_in_1x1: bool,
) -> "OrderedDict[str, nn.Module]":
    """layer1, layer2, …: every stage but the first halves height and width in its first block."""
    stages: OrderedDict[str, nn.Module] = OrderedDict()
    for index, (depth, width) in enumerate(zip(depths, widths, strict=True), start=1):
        strides = [1 if index == 1 else 2] + [1] * (depth - 1)
        blocks = []
        for stride in strides:
            blocks.append(block(in_channels, width, stride, shortcut, stride_in_1x1))
            in_channels = width * block.expansion
        stages[f"layer{index}"] = nn.Sequential(*blocks)
    return stages


def _assemble(
    stem: "OrderedDict[str, nn.Module]",
    stages: "OrderedDict[str, nn.Module]",
    features: int,
    num_classes: int,
    zero_init_residual: bool,
) -> nn.Sequential:
    head = OrderedDict(
        avgpool=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        fc=nn.Linear(features, num_classes),
    )
    model = nn.Sequential(OrderedDict(**stem, **stages, **head))
    initialise(model, head=model.fc)
    if zero_init_residual:
        for module in model.modules():
            if isinstance(module, BasicBlock | Bottleneck):
                last = module.bn3 if isinstance(module, Bottleneck) else module.bn2
                torch.nn.init.zeros_(last.weight)
    return model
