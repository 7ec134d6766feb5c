"""VGG-19, plain-34 and ResNet-34 side by side, drawn from the modules as in the paper's Figure 3."""

from itertools import groupby, pairwise
from pathlib import Path
from xml.etree import ElementTree

import torch
from torch import nn

from models import find
from paper.drawing import INK
from paper.options import Options
from paper.results import Results, Row, write_whole
from paper.tracing import Layer, blocks, trace

NETWORKS = ("vgg19", "plain34", "resnet34")
TITLES = {"vgg19": "VGG-19", "plain34": "34-layer plain", "resnet34": "34-layer residual"}
# One colour for each output size, dark enough for white text.
FILLS = {224: "#8a5a2b", 112: "#a04a6d", 56: "#7a55a8", 28: "#2f6fb7", 14: "#24806a", 7: "#a8552a", 1: "#5f6771"}

ROW, BOX, WIDTH = 25, 18, 150  # pixels: pitch of the rows, height and width of a box
LEFT, TOP, COLUMN = 90, 64, 255  # pixels: margin for the output sizes, for the titles, pitch of the columns


def measure(options: Options) -> Results:
    """Trace the three networks, the residual one with option A as in the paper's figure."""
    del options
    rows = [row for name in NETWORKS for row in _rows(name)]
    return Results(experiment="architectures", tables={"layers": rows})


def _rows(name: str) -> list[Row]:
    entry = find(name)
    with torch.device("meta"):
        model = entry.build(shortcut="A") if name == "resnet34" else entry.build()
    layers = [layer for layer in trace(model, entry.input_size) if not layer.is_shortcut]
    ends = {f"{block}.conv2": module.downsample for block, module in blocks(model).items()}
    return [
        {
            "network": name,
            "layer": layer.name,
            "text": _text(layer),
            "output_size": layer.output_size,
            "has_weights": int(layer.has_weights),
            "multiply_adds": layer.multiply_adds,
            "shortcut": _shortcut(ends.get(layer.name)),
        }
        for layer in layers
        if not (name == "vgg19" and isinstance(layer.module, nn.AdaptiveAvgPool2d))  # changes nothing at 224 pixels
    ]


def _shortcut(downsample: nn.Module | None) -> str:
    """Does a shortcut end behind this layer, and does it change the dimensions?"""
    if downsample is None:
        return ""
    return "identity" if isinstance(downsample, nn.Identity) else "changing"


def _text(layer: Layer) -> str:
    module = layer.module
    if isinstance(module, nn.Linear):
        return f"fc {layer.channels}"
    if isinstance(module, nn.AdaptiveAvgPool2d):
        return "avg pool"
    if isinstance(module, nn.MaxPool2d):
        return f"{module.kernel_size}x{module.kernel_size} max pool, /{module.stride}"
    kernel, stride = module.kernel_size[0], module.stride[0]
    return f"{kernel}x{kernel} conv, {layer.channels}" + (f", /{stride}" if stride > 1 else "")


def draw(results: Results, folder: Path) -> None:
    """Write the SVG file: rows of equal output size stand side by side, as in the paper."""
    tables = {name: [row for row in results.tables["layers"] if row["network"] == name] for name in NETWORKS}
    sizes = sorted({row["output_size"] for rows in tables.values() for row in rows}, reverse=True)
    heights = {size: max(_count(rows, size) for rows in tables.values()) for size in sizes}
    height = TOP + ROW * sum(heights.values()) + 12 * len(sizes) + 10
    width = LEFT + COLUMN * len(NETWORKS) - 30
    svg = ElementTree.Element(
        "svg",
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width} {height}",
        width=str(width),
        height=str(height),
        attrib={"font-family": "Helvetica, Arial, sans-serif", "font-size": "11"},
    )
    place = _places(heights)
    _output_sizes(svg, place, width)
    for column, name in enumerate(NETWORKS):
        _column(svg, name, tables[name], LEFT + COLUMN * column + 20, place)
    ElementTree.indent(svg)
    write_whole(folder / "architectures.svg", ElementTree.tostring(svg, encoding="unicode") + "\n")


def _count(rows: list[Row], size: int) -> int:
    return sum(row["output_size"] == size for row in rows)


def _places(heights: dict[int, int]) -> dict[int, int]:
    """The y of the first row of each output size."""
    places, y = {}, TOP
    for size, rows in heights.items():
        places[size] = y
        y += ROW * rows + 12
    return places


def _output_sizes(svg: ElementTree.Element, place: dict[int, int], width: int) -> None:
    for size, y in place.items():
        _write(svg, f"output {size}x{size}" if size > 1 else "output 1x1", 8, y + BOX - 5, anchor="start")
        line = {"x1": "8", "x2": str(width - 8), "y1": str(y - 10), "y2": str(y - 10)}
        ElementTree.SubElement(svg, "line", line, stroke=INK, attrib={"stroke-opacity": "0.35"})


def _column(svg: ElementTree.Element, name: str, rows: list[Row], x: int, place: dict[int, int]) -> None:
    _write(svg, TITLES[name], x + WIDTH / 2, 24, size=14)
    layers = sum(row["has_weights"] for row in rows)
    work = sum(row["multiply_adds"] for row in rows) / 1e9
    _write(svg, f"{layers} layers, {work:.1f} G multiply-adds", x + WIDTH / 2, 42)
    tops = []
    for size, group in groupby(rows, key=lambda row: row["output_size"]):
        tops += [place[size] + ROW * number for number, _ in enumerate(group)]
    for above, below in pairwise(tops):
        _line(svg, f"M {x + WIDTH / 2} {above + BOX} V {below - 1}")
    source = None  # where the shortcut begins that ends behind the next block
    for row, y in zip(rows, tops, strict=True):
        box = {"x": str(x), "y": str(y), "width": str(WIDTH), "height": str(BOX), "rx": "3"}
        ElementTree.SubElement(svg, "rect", box, fill=FILLS[row["output_size"]])
        _write(svg, row["text"], x + WIDTH / 2, y + BOX - 5, fill="white")
        if row["shortcut"]:
            assert source is not None
            _arc(svg, x + WIDTH, source, y + BOX, dotted=row["shortcut"] == "changing")
        if row["shortcut"] or "pool" in row["text"]:
            source = y + BOX


def _arc(svg: ElementTree.Element, x: float, start: float, end: float, *, dotted: bool) -> None:
    """A shortcut from below one box to below another; dotted where it changes the dimensions, as in the paper."""
    start, end = start + 3, end + 3
    _line(
        svg,
        f"M {x - WIDTH / 2} {start} H {x} C {x + 42} {start} {x + 42} {end} {x} {end} H {x - WIDTH / 2 + 4}",
        dotted,
    )


def _line(svg: ElementTree.Element, path: str, dotted: bool = False) -> None:
    style = {"fill": "none", "stroke": INK, "stroke-width": "1.4"} | ({"stroke-dasharray": "2 3"} if dotted else {})
    ElementTree.SubElement(svg, "path", {"d": path, **style})


def _write(
    svg: ElementTree.Element, text: str, x: float, y: float, *, anchor: str = "middle", fill: str = INK, size: int = 11
) -> None:
    where = {"x": f"{x:g}", "y": f"{y:g}", "text-anchor": anchor, "fill": fill, "font-size": str(size)}
    ElementTree.SubElement(svg, "text", where).text = text


def page(results: Results) -> str:
    """The page's body."""
    rows = [row for row in results.tables["layers"] if row["shortcut"]]
    solid = sum(row["shortcut"] == "identity" for row in rows)
    return "\n\n".join(
        [
            finding(results),
            "![VGG-19, plain-34 and ResNet-34, layer by layer](images/architectures.svg)",
            f"Every box is a layer that a forward pass met in our modules. Of the {len(rows)} shortcuts {solid} are "
            f"solid: identities. The other {len(rows) - solid} are dotted: they halve the size and double the "
            "channels. They are option A here: zeros fill the channels that the input lacks.",
            "The paper draws VGG's pooling as “pool, /2”; our boxes name the kernel. Batch norms and ReLUs follow the "
            "convolutions and are not drawn, as in the paper.",
        ]
    )


def finding(results: Results) -> str:
    """The result in a sentence or two."""
    layers = dict.fromkeys(NETWORKS, 0)
    for row in results.tables["layers"]:
        layers[row["network"]] += row["has_weights"]
    same = _texts(results, "plain34") == _texts(results, "resnet34")
    return (
        f"The plain and the residual network have the same {layers['plain34']} layers"
        + (", box for box; " if same else " in number, but not box for box; ")
        + "the shortcuts are all that differs."
    )


def _texts(results: Results, network: str) -> list[str]:
    return [row["text"] for row in results.tables["layers"] if row["network"] == network]
