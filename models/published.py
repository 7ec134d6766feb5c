"""What the papers report of each network, to set beside what is counted and measured here."""

from typing import Literal, NamedTuple

RESNET_PAPER = "He et al. 2015 (arXiv 1512.03385)"
VGG_PAPER = "Simonyan and Zisserman 2014 (arXiv 1409.1556)"

Quantity = Literal["multiply_adds", "parameters", "top1_error", "top5_error"]


class Figure(NamedTuple):
    """One published number: errors in per cent; conditions say how, and on what, it was measured."""

    quantity: Quantity
    value: float
    conditions: str
    source: str


def _work(value: float, place: str) -> Figure:
    # The papers' FLOPs are multiply-adds.
    return Figure("multiply_adds", value, "224x224, 1000 classes", f"{RESNET_PAPER}, {place}")


def _errors(top1: float | None, top5: float | None, conditions: str, source: str) -> tuple[Figure, ...]:
    figures = []
    if top1 is not None:
        figures.append(Figure("top1_error", top1, conditions, source))
    if top5 is not None:
        figures.append(Figure("top5_error", top5, conditions, source))
    return tuple(figures)


def _table_2(top1: float, option: str = "") -> tuple[Figure, ...]:
    return _errors(top1, None, f"ImageNet validation, 10-crop{option}", f"{RESNET_PAPER}, Table 2")


def _table_3(top1: float, top5: float, option: str = "") -> tuple[Figure, ...]:
    return _errors(top1, top5, f"ImageNet validation, 10-crop{option}", f"{RESNET_PAPER}, Table 3")


def _table_4(top1: float, top5: float, option: str) -> tuple[Figure, ...]:
    # Section 3.4: fully convolutional, scores averaged over five scales.
    return _errors(top1, top5, f"ImageNet validation, single model, multi-scale{option}", f"{RESNET_PAPER}, Table 4")


def _table_6(parameters: float, error: float, note: str = "") -> tuple[Figure, ...]:
    source = f"{RESNET_PAPER}, Table 6"
    return (
        Figure("parameters", parameters, "10 classes", source),
        Figure("top1_error", error, f"CIFAR-10 test{note}", source),
    )


def _vgg_table_3(top1: float, top5: float) -> tuple[Figure, ...]:
    return _errors(top1, top5, "ImageNet validation, single scale 256", f"{VGG_PAPER}, Table 3")


A, B, C = (f", shortcut {option}" for option in "ABC")

# VGG with batch norm, AlexNet in one tower and the plain CIFAR networks have no figure in these tables.
FIGURES: dict[str, tuple[Figure, ...]] = {
    "resnet18": (_work(1.8e9, "Table 1"), *_table_2(27.88, A)),
    "resnet34": (
        _work(3.6e9, "Table 1"),
        *_table_3(25.03, 7.76, A),
        *_table_3(24.52, 7.46, B),
        *_table_3(24.19, 7.40, C),
        *_table_4(21.84, 5.71, B),
        *_table_4(21.53, 5.60, C),
    ),
    "resnet50": (_work(3.8e9, "Table 1"), *_table_3(22.85, 6.71, B), *_table_4(20.74, 5.25, B)),
    "resnet101": (_work(7.6e9, "Table 1"), *_table_3(21.75, 6.05, B), *_table_4(19.87, 4.60, B)),
    "resnet152": (_work(11.3e9, "Table 1"), *_table_3(21.43, 5.71, B), *_table_4(19.38, 4.49, B)),
    "plain18": (_work(1.8e9, "Table 1"), *_table_2(27.94)),
    "plain34": (_work(3.6e9, "Table 1"), *_table_3(28.54, 10.02)),
    "vgg11": _vgg_table_3(29.6, 10.4),
    "vgg13": _vgg_table_3(28.7, 9.9),
    "vgg16": (_work(15.3e9, "section 4.1"), *_table_3(28.07, 9.33), *_vgg_table_3(27.0, 8.8)),
    "vgg19": (_work(19.6e9, "section 4.1"), *_vgg_table_3(27.3, 9.0)),
    "resnet20": _table_6(0.27e6, 8.75),
    "resnet32": _table_6(0.46e6, 7.51),
    "resnet44": _table_6(0.66e6, 7.17),
    "resnet56": _table_6(0.85e6, 6.97),
    "resnet110": _table_6(1.7e6, 6.43, ", best of 5 runs"),
    "resnet1202": _table_6(19.4e6, 7.93),
}
