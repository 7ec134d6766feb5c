"""Costs of Table 1's networks and of VGG, computed from the modules, beside the published figures."""

from pathlib import Path

import torch
from torch import nn

from models import find
from paper.drawing import INK, OTHER, PLAIN, RESIDUAL, new_figure, save, style
from paper.options import Options
from paper.results import Results, Row
from paper.tables import markdown
from paper.tracing import Layer, trace

NETWORKS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "plain18", "plain34", "vgg16", "vgg19")
CIFAR = ("resnet20", "resnet32", "resnet44", "resnet56", "resnet110", "resnet1202")
STAGES = {"conv1": "conv1", "maxpool": "conv2_x", **{f"layer{n}": f"conv{n + 1}_x" for n in (1, 2, 3, 4)}, "fc": "fc"}


def measure(options: Options) -> Results:
    """Count every network anew."""
    del options  # nothing here depends on data or time
    return Results(
        experiment="costs",
        tables={
            "networks": [_network(name) for name in (*NETWORKS, *CIFAR)],
            "stages": [row for name in NETWORKS if name.startswith("resnet") for row in _stages(name)],
        },
    )


def _layers(name: str, **arguments: bool | str) -> list[Layer]:
    return trace(_built(name, **arguments), find(name).input_size)


def _built(name: str, **arguments: bool | str) -> nn.Module:
    entry = find(name)
    with torch.device("meta"):
        return entry.build(num_classes=entry.classes, **arguments)


def _network(name: str) -> Row:
    entry = find(name)
    model = _built(name)
    layers = trace(model, entry.input_size)
    published = {figure.quantity: figure.value for figure in reversed(entry.published)}
    as_published, difference = _explained(name, layers)
    return {
        "network": name,
        "layers": sum(layer.has_weights and not layer.is_shortcut for layer in layers),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "multiply_adds": _work(layers),
        "multiply_adds_as_published": as_published,
        "published_multiply_adds": published.get("multiply_adds", ""),
        "published_parameters": published.get("parameters", ""),
        "difference": difference,
    }


def _explained(name: str, layers: list[Layer]) -> tuple[int, str]:
    """The count by the paper's own convention, and what it does otherwise than the count beside it."""
    if find(name).has_bottlenecks:
        layers = _layers(name, stride_in_1x1=True)
        cut = "; 3.86 cut to 3.8" if name == "resnet50" else ""
        return _work(layers), f"the published count fits a stride in the first 1x1 convolution; ours is in the 3x3{cut}"
    if name == "vgg16":
        return _work(layers, linear=False), "the convolutions alone; the fully connected layers add 0.12 G"
    if name == "vgg19":
        return _work(layers), "rounding; here the fully connected layers are included"
    if name in ("resnet18", "resnet34"):
        return _work(_layers(name, shortcut="A")), "ours has option B's projections, Figure 3 has none"
    return _work(layers), "rounding" if name.startswith("plain") else ""


def _work(layers: list[Layer], *, linear: bool = True) -> int:
    return sum(layer.multiply_adds for layer in layers if linear or layer.output_size > 1 or layer.input_size > 1)


def _stages(name: str) -> list[Row]:
    rows: dict[str, Row] = {}
    for layer in _layers(name):
        stage = STAGES.get(layer.name.partition(".")[0])
        if stage is None:
            continue
        empty = {"network": name, "stage": stage, "output_size": 0, "layers": 0, "parameters": 0, "multiply_adds": 0}
        row = rows.setdefault(stage, empty)
        row["output_size"] = layer.output_size
        row["layers"] += layer.has_weights and not layer.is_shortcut
        row["parameters"] += layer.parameters
        row["multiply_adds"] += layer.multiply_adds
    return list(rows.values())


def draw(results: Results, folder: Path) -> None:
    """Multiply-adds of each ImageNet network as a bar, the published figure as a mark."""
    rows = [row for row in results.tables["networks"] if row["network"] in NETWORKS]
    rows.sort(key=lambda row: row["multiply_adds"])
    figure = new_figure(8, 3.4)
    axes = figure.subplots()
    colours = {"resnet": RESIDUAL, "plain": PLAIN, "vgg": OTHER}
    for place, row in enumerate(rows):
        family = row["network"].rstrip("0123456789")
        axes.barh(place, row["multiply_adds"] / 1e9, color=colours[family], height=0.65)
        text = f"{row['multiply_adds'] / 1e9:.2f} G, {row['layers']} layers, {row['parameters'] / 1e6:.0f} M parameters"
        inside = row["multiply_adds"] > 12e9
        axes.annotate(
            text,
            (row["multiply_adds"] / 1e9, place),
            xytext=(-8 if inside else 8, 0),
            textcoords="offset points",
            ha="right" if inside else "left",
            va="center",
            color="white" if inside else INK,
            fontsize=8,
        )
        axes.plot(row["published_multiply_adds"] / 1e9, place, "|", color="black", markersize=13, markeredgewidth=3)
        axes.plot(row["published_multiply_adds"] / 1e9, place, "|", color="white", markersize=12, markeredgewidth=1.5)
    axes.set_yticks(range(len(rows)), [row["network"] for row in rows])
    axes.set_xlabel("multiply-adds for one image of 224x224, in 10⁹ (mark: as published)")
    style(axes, legend=False)
    axes.grid(visible=False, axis="y")
    save(figure, folder / "costs.png")


def page(results: Results) -> str:
    """The page's body."""
    rows = results.tables["networks"]
    imagenet = [row for row in rows if row["network"] in NETWORKS]
    cifar = [row for row in rows if row["network"] in CIFAR]
    return "\n\n".join(
        [
            finding(results),
            "![Multiply-adds of the networks, ours and published](images/costs.png)",
            "## Beside the published figures",
            "Layers are convolutions and fully connected layers; projections on shortcuts are not counted, as in the "
            "paper. Its “FLOPs” are multiply-adds (section 3.3). The column before the last counts our modules the "
            "way the published figure was counted; the last says what differs.",
            markdown(
                ["network", "layers", "parameters", "multiply-adds", "published", "counted its way", "difference"],
                [
                    [
                        row["network"],
                        row["layers"],
                        f"{row['parameters']:,}",
                        f"{row['multiply_adds'] / 1e9:.2f} G",
                        f"{row['published_multiply_adds'] / 1e9:.1f} G",
                        f"{row['multiply_adds_as_published'] / 1e9:.2f} G",
                        row["difference"],
                    ]
                    for row in imagenet
                ],
            ),
            "ResNet and plain figures are from Table 1, VGG's from section 4.1 of He et al. 2015.",
            "## The networks for CIFAR-10",
            markdown(
                ["network", "layers", "multiply-adds", "parameters", "published (Table 6)"],
                [
                    [
                        row["network"],
                        row["layers"],
                        f"{row['multiply_adds'] / 1e6:.1f} M",
                        f"{row['parameters'] / 1e6:.2f} M",
                        f"{row['published_parameters'] / 1e6:g} M",
                    ]
                    for row in cifar
                ],
            ),
            "## Table 1 from the modules",
            "Output size, layers and multiply-adds of each stage at 224x224.",
            _table_1(results.tables["stages"]),
        ]
    )


def _table_1(rows: list[Row]) -> str:
    networks = list(dict.fromkeys(row["network"] for row in rows))
    cells = {(row["stage"], row["network"]): row for row in rows}
    stages = list(dict.fromkeys(row["stage"] for row in rows))
    lines = []
    for stage in stages:
        here = [cells[stage, network] for network in networks]
        work = [f"{row['layers']} layers, {row['multiply_adds'] / 1e6:,.0f} M" for row in here]
        lines.append([stage, "x".join([str(here[0]["output_size"])] * 2), *work])
    totals = [sum(row["multiply_adds"] for row in rows if row["network"] == network) for network in networks]
    lines.append(["all", "", *[f"{total / 1e9:.2f} G" for total in totals]])
    return markdown(["stage", "output", *networks], lines)


def finding(results: Results) -> str:
    """The result in a sentence or two."""
    work = {row["network"]: row["multiply_adds"] / 1e9 for row in results.tables["networks"]}
    under = all(work["resnet152"] < work[vgg] for vgg in ("vgg16", "vgg19"))
    return (
        f"ResNet-152 takes {work['resnet152']:.1f} G multiply-adds for one image, VGG-16 {work['vgg16']:.1f} G and "
        f"VGG-19 {work['vgg19']:.1f} G: eight times the layers of VGG-19 for "
        f"{work['resnet152'] / work['vgg19']:.0%} of its work. "
        + ("The paper's claim holds" if under else "The paper's claim does not hold")
        + " in our modules. The 34-layer networks take "
        f"{work['plain34'] / work['vgg19']:.1%} of VGG-19's work (section 3.3: 18 %)."
    )
