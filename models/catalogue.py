"""Every network by name: how to build it, what it costs, and what was published about it."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from types import MappingProxyType
from typing import Any, Literal, get_args

import torch
from torch import nn

from models.alexnet import alexnet
from models.counting import Counts, count
from models.published import FIGURES, Figure
from models.resnet import BasicBlock, Bottleneck, Shortcut, cifar_resnet, imagenet_resnet
from models.vgg import vgg
from resserve.errors import ResServeError

Family = Literal["resnet", "plain", "vgg", "alexnet", "cifar-resnet", "cifar-plain"]

SHORTCUTS = get_args(Shortcut)
TABLE_1_DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One network of the catalogue.

    Attributes:
        name: what `build` is given.
        family: the networks it belongs to.
        builder: builds it from num_classes and the options below that the family has.
        input_size: side of the square image it was published for, in pixels.
        classes: of the data it was published for.
        minimum_size: the shortest side of an image that its strides leave something of.
        shortcut: the option taken by default; None where there are no shortcuts to choose.
        has_bottlenecks: whether `stride_in_1x1` means something.
    """

    name: str
    family: Family
    builder: Callable[..., nn.Module]
    input_size: int
    classes: int
    minimum_size: int = 1
    shortcut: Shortcut | None = None
    has_bottlenecks: bool = False

    @cached_property
    def counts(self) -> Counts:
        """Parameters and multiply-adds as built by default, for `classes` at `input_size`."""
        with torch.device("meta"):
            model = self.build(num_classes=self.classes)
        return count(model, self.input_size, self.input_size)

    @property
    def published(self) -> tuple[Figure, ...]:
        """The figures of the papers, each with its source."""
        return FIGURES.get(self.name, ())

    def build(
        self,
        *,
        num_classes: int = 1000,
        shortcut: Shortcut | None = None,
        stride_in_1x1: bool = False,
        zero_init_residual: bool = False,
    ) -> nn.Module:
        """See `models.build`."""
        if num_classes < 1:
            raise ResServeError(f"{self.name} needs at least one class; num_classes is {num_classes}.")
        options: dict[str, Any] = {}
        if self.shortcut is not None:
            options = {"shortcut": shortcut or self.shortcut, "zero_init_residual": zero_init_residual}
            if options["shortcut"] not in SHORTCUTS:
                raise ResServeError(f"There is no shortcut option {shortcut!r}; choose A, B or C.")
        elif shortcut is not None or zero_init_residual:
            raise ResServeError(f"{self.name} has no shortcuts; leave out shortcut and zero_init_residual.")
        if self.has_bottlenecks:
            options["stride_in_1x1"] = stride_in_1x1
        elif stride_in_1x1:
            raise ResServeError(f"{self.name} has no 1x1 convolutions in its blocks; leave out stride_in_1x1.")
        return self.builder(num_classes=num_classes, **options)

    def check_size(self, height: int, width: int) -> None:
        """Refuse images that the strides would leave nothing of.

        Raises:
            ResServeError: naming the smallest size.
        """
        if min(height, width) < self.minimum_size:
            raise ResServeError(
                f"{self.name} needs images of at least {self.minimum_size}x{self.minimum_size} pixels, "
                f"not {width}x{height}; choose a larger size."
            )


def build(
    name: str,
    *,
    num_classes: int = 1000,
    shortcut: Shortcut | None = None,
    stride_in_1x1: bool = False,
    zero_init_residual: bool = False,
) -> nn.Module:
    """Build a network by name, initialised after He et al. 2015: float [N, 3, H, W] to logits [N, num_classes].

    Args:
        name: a key of CATALOGUE.
        num_classes: width of the logits.
        shortcut: "A", "B" or "C" (He et al. 2015, section 3.3 and Table 3) for residual networks; None takes the
            family's: B for the ImageNet networks, A for the CIFAR ones.
        stride_in_1x1: put the bottlenecks' stride in the first 1x1 convolution, as the paper does, instead of the 3x3.
        zero_init_residual: start with the last batch norm of every residual block at zero.

    Raises:
        ResServeError: the name is unknown, or an option means nothing for this network.
    """
    return find(name).build(
        num_classes=num_classes,
        shortcut=shortcut,
        stride_in_1x1=stride_in_1x1,
        zero_init_residual=zero_init_residual,
    )


def find(name: str) -> Entry:
    """The catalogue's entry of a name.

    Raises:
        ResServeError: naming the nearest names, and all.
    """
    if name in CATALOGUE:
        return CATALOGUE[name]
    near = difflib.get_close_matches(name, CATALOGUE, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise ResServeError(f"There is no network named {name!r}.{hint} Choose one of: {', '.join(CATALOGUE)}.")


def _entries() -> list[Entry]:
    imagenet: dict[str, Any] = {"input_size": 224, "classes": 1000}
    cifar: dict[str, Any] = {"input_size": 32, "classes": 10}
    entries = []
    for layers, depths in TABLE_1_DEPTHS.items():
        bottlenecks = layers >= 50
        builder = partial(imagenet_resnet, Bottleneck if bottlenecks else BasicBlock, depths)
        options: dict[str, Any] = {"shortcut": "B", "has_bottlenecks": bottlenecks, **imagenet}
        entries.append(Entry(name=f"resnet{layers}", family="resnet", builder=builder, **options))
    for layers in (18, 34):
        builder = partial(imagenet_resnet, BasicBlock, TABLE_1_DEPTHS[layers], shortcut=None)
        entries.append(Entry(name=f"plain{layers}", family="plain", builder=builder, **imagenet))
    for layers in (11, 13, 16, 19):
        for batch_norm, suffix in ((False, ""), (True, "_bn")):
            builder = partial(vgg, layers, batch_norm=batch_norm)
            entries.append(
                Entry(name=f"vgg{layers}{suffix}", family="vgg", builder=builder, minimum_size=32, **imagenet)
            )
    entries.append(Entry(name="alexnet", family="alexnet", builder=alexnet, minimum_size=63, **imagenet))
    for layers in (20, 32, 44, 56, 110, 1202):
        builder = partial(cifar_resnet, (layers - 2) // 6)
        entries.append(Entry(name=f"resnet{layers}", family="cifar-resnet", builder=builder, shortcut="A", **cifar))
    for layers in (20, 32, 44, 56, 110):
        builder = partial(cifar_resnet, (layers - 2) // 6, shortcut=None)
        entries.append(Entry(name=f"plain{layers}", family="cifar-plain", builder=builder, **cifar))
    return entries


CATALOGUE: Mapping[str, Entry] = MappingProxyType({entry.name: entry for entry in _entries()})
