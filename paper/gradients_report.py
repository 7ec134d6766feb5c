"""Pictures and page of the gradients experiment."""

from collections.abc import Callable
from pathlib import Path
from statistics import mean

from matplotlib.axes import Axes

from paper import study
from paper.drawing import INK, SHADES, new_figure, save, style
from paper.names import depth, family, sort_key, title
from paper.results import Results, Row
from paper.tables import markdown

HEALTHY = 100  # a gradient that changes by less from the last block to the first counts as healthy here
FAMILIES = {"plain": "plain", "resnet": "residual"}
BN, HE, GLOROT, LARGE = ("bn", 2), ("none", 2), ("none", 1), ("none", 4)
KIND_TITLES = {
    BN: "with batch norm",
    HE: "without batch norm, He's initialisation",
    GLOROT: "half of He's variance (Glorot)",
    LARGE: "twice He's variance",
}


def draw(results: Results, folder: Path) -> None:
    """Write the five pictures."""
    layers, steps = results.tables["layers"], results.facts["steps"]
    start = [row for row in layers if row["step"] == 0]
    during = [row for row in layers if row["step"] == steps]
    _by_depth(start, "gradient", "norm of the weights' gradient", folder / "gradients-start.png")
    _by_depth(during, "gradient", "norm of the weights' gradient", folder / "gradients-training.png")
    # Between the two layers of a block batch norm has just set the spread; the blocks' inputs show how it grows.
    inputs = [row for row in start if row["name"].endswith("conv1")]
    _by_depth(inputs, "spread", "std of the blocks' inputs", folder / "gradients-activations.png")
    _by_gain(start, folder / "gradients-initialisation.png")
    _jacobians(results, folder / "gradients-jacobians.png")


def _by_depth(rows: list[Row], quantity: str, label: str, path: Path) -> None:
    """A line for each depth over the layers; plain left, residual right; with batch norm above, without below."""
    figure = new_figure(9, 6)
    panels = figure.subplots(2, 2, sharey="row")
    networks = sorted({row["network"] for row in rows}, key=sort_key)
    for line, kind in zip(panels, (BN, HE), strict=True):
        for axes, kin in zip(line, FAMILIES, strict=True):
            mine = [network for network in networks if network.startswith(kin)]
            for shade, network in zip(SHADES, mine, strict=False):
                _line(axes, _of(rows, network, kind), quantity, shade, f"{depth(network)} layers")
            axes.set_yscale("log")
            axes.set_xlabel("layer, from the image (0) to the classes (1)")
            style(axes, title=f"{FAMILIES[kin]}, {KIND_TITLES[kind]}", legend=axes is panels[0][0])
        line[0].set_ylabel(label)
    save(figure, path)


def _by_gain(rows: list[Row], path: Path) -> None:
    """One depth without batch norm, with three variances of the initialisation."""
    deepest = _deep(rows)
    figure = new_figure(9, 3.4)
    for axes, kin in zip(figure.subplots(1, 2, sharey=True), FAMILIES, strict=True):
        for shade, kind in zip(SHADES, (HE, GLOROT, LARGE), strict=False):
            label = "He's variance" if kind == HE else KIND_TITLES[kind]
            _line(axes, _of(rows, f"{kin}{deepest}", kind), "signal", shade, label)
        axes.set_yscale("log")
        axes.set_xlabel("layer, from the image (0) to the classes (1)")
        axes.set_ylabel("gradient at the layer's output" if kin == "plain" else "")
        style(axes, title=f"{title(kin + str(deepest))} without batch norm")
    save(figure, path)


def _jacobians(results: Results, path: Path) -> None:
    """Gain of the branch F, gain of the whole block and mean diagonal, block by block."""
    rows = [row for row in results.tables["blocks"] if (row["norm"], row["gain"]) == BN]
    deepest, steps = _deep(rows), results.facts["steps"]
    figure = new_figure(9, 3.6)
    names = {"whole": "gain of the block", "branch": "gain of its branch F", "diagonal": "mean diagonal of the block"}
    for axes, kin in zip(figure.subplots(1, 2, sharey=True), FAMILIES, strict=True):
        mine = [row for row in rows if row["network"] == f"{kin}{deepest}"]
        for step, line in ((0, "-"), (steps, "--")):
            here = [row for row in mine if row["step"] == step]
            for shade, (quantity, name) in zip(SHADES, names.items(), strict=False):
                if quantity == "branch" and kin == "plain":
                    continue  # a plain block is its own branch
                _line(axes, here, quantity, shade, name if step == 0 else None, line)
        axes.axhline(1, color=INK, linewidth=0.8, linestyle=":")
        axes.set_xlabel("block, from the image (0) to the classes (1)")
        axes.set_ylabel(f"solid: start, dashed: after {steps} iterations" if kin == "plain" else "")
        style(axes, title=f"{title(kin + str(deepest))}, with batch norm")
    save(figure, path)


def _deep(rows: list[Row]) -> int:
    """56 layers, the depth of the paper's Figure 1, or the deepest that both families have."""
    depths = set.intersection(
        *({depth(row["network"]) for row in rows if family(row["network"]) == name} for name in FAMILIES)
    )
    return 56 if 56 in depths else max(depths)


def _of(rows: list[Row], network: str, kind: tuple[str, int]) -> list[Row]:
    return [row for row in rows if row["network"] == network and (row["norm"], row["gain"]) == kind]


def _line(axes: Axes, rows: list[Row], quantity: str, shade: str, label: str | None, line: str = "-") -> None:
    """The mean over the seeds, and their range; a value of zero has no logarithm and is left out."""
    if not rows:
        return
    by_index: dict[int, list[float]] = {}
    for row in rows:
        by_index.setdefault(row["index"], []).append(row[quantity])
    last = max(by_index)
    places = [(index - 1) / max(1, last - 1) for index in by_index]
    axes.plot(places, [mean(each) for each in by_index.values()], line, color=shade, linewidth=1.4, label=label)
    low, high = (list(map(pick, by_index.values())) for pick in (min, max))
    axes.fill_between(places, low, high, color=shade, alpha=0.2, linewidth=0)


def page(results: Results) -> str:
    """The page's body."""
    steps = results.facts["steps"]
    return "\n\n".join(
        [
            study.data_note(results),
            finding(results),
            "## Gradients at the start",
            "Each line is one network, probed in float32 on one batch of 128 images. Without batch norm the scale of "
            "the signals follows the initialisation alone.",
            "![Norm of each layer's gradient at the start](images/gradients-start.png)",
            "![Vanishing and exploding gradients](images/gradients-initialisation.png)",
            "He's initialisation (2015) keeps the variance through plain layers. Half of it, which was usual before, "
            "halves the variance with every layer: gradients vanish. Twice as much doubles it: they explode. A "
            "residual block without batch norm adds its branch's variance to its input's, so signals grow with every "
            "block, the faster the larger the initial variance. Shortcuts alone prevent vanishing, but not explosion.",
            "![Spread of the activations at the start](images/gradients-activations.png)",
            "With batch norm the inputs of plain layers keep their spread at any depth, and the stream of a residual "
            "network grows slowly, as each block adds a branch of unit variance to it.",
            f"## Gradients after {steps} iterations",
            "![Norm of each layer's gradient during training](images/gradients-training.png)",
            "Learning rate 0.1, batch 128, the same for all. A network that is missing here has diverged: its loss was "
            "no longer a number.",
            "## From the last block to the first",
            "How many times larger the gradient is at the output of the first block's first convolution than at the "
            "last convolution's: far above 1 it explodes on its way back, far below it vanishes. Between "
            f"1/{HEALTHY} and {HEALTHY} it is called healthy here. Of several seeds: mean, and range in brackets.",
            _ratio_table(results),
            "## The 1 in d(F(x) + x)/dx",
            "![Gains and diagonal of the blocks' Jacobians](images/gradients-jacobians.png)",
            "The Jacobian of a residual block is that of its branch F plus the identity. We measure it before the last "
            "ReLU, with random vectors, in every block that keeps its dimensions. The gain is the root mean square by "
            "which a gradient's length changes; the mean diagonal is the share of a gradient that passes straight "
            "through.",
            _jacobian_table(results),
            f"Measured on {results.facts['machine']}, {results.facts['date']}.",
        ]
    )


def _ratios(results: Results, network: str, kind: tuple[str, int], step: int) -> list[float]:
    """The gradient at the first block over that at the last convolution, for each seed."""
    ratios = []
    rows = [row for row in _of(results.tables["layers"], network, kind) if row["step"] == step]
    for seed in sorted({row["seed"] for row in rows}):
        mine = sorted((row for row in rows if row["seed"] == seed), key=lambda row: row["index"])
        last = mine[-2]["signal"]  # the very last layer is the classifier
        ratios.append(mine[1]["signal"] / last if last else float("nan"))
    return ratios


def _range(values: list[float]) -> str:
    if not values:
        return "-"
    shown = _figure(mean(values))
    return shown if len(values) == 1 else f"{shown} ({_figure(min(values))} to {_figure(max(values))})"


def _figure(value: float) -> str:
    """Two digits, as a plain number where that has a readable length."""
    rounded = float(f"{value:.2g}")
    return f"{rounded:,.0f}" if 10 <= rounded < 1e7 else f"{rounded:.2g}"


def _ratio_table(results: Results) -> str:
    steps = results.facts["steps"]
    columns: list[tuple[str, Callable[[str], str]]] = []
    for kind, step in ((BN, 0), (BN, steps), (HE, 0), (HE, steps), (GLOROT, 0), (LARGE, 0)):
        name = {BN: "BN", HE: "no BN, He", GLOROT: "no BN, Glorot", LARGE: "no BN, twice He"}[kind]
        when = "start" if step == 0 else f"after {steps}"
        columns.append((f"{name}, {when}", lambda network, kind=kind, step=step: _cell(results, network, kind, step)))
    networks = sorted({row["network"] for row in results.tables["networks"]}, key=sort_key)
    lines = [[title(network), *(cell(network) for _, cell in columns)] for network in networks]
    return markdown(["network", *(name for name, _ in columns)], lines)


def _cell(results: Results, network: str, kind: tuple[str, int], step: int) -> str:
    outcomes = {row["outcome"] for row in _of(results.tables["networks"], network, kind)}
    ratios = _ratios(results, network, kind, step)
    if step and "diverged" in outcomes:
        return "diverged" if not ratios else f"{_range(ratios)}; some seeds diverged"
    return _range(ratios)


def _jacobian_table(results: Results) -> str:
    steps = results.facts["steps"]
    rows = [row for row in results.tables["blocks"] if (row["norm"], row["gain"]) == BN]
    lines = []
    for network in sorted({row["network"] for row in rows}, key=sort_key):
        for step in (0, steps):
            mine = [row for row in rows if row["network"] == network and row["step"] == step]
            if mine:
                when = "start" if step == 0 else f"after {steps}"
                cells = [_spread([row[quantity] for row in mine]) for quantity in ("branch", "whole", "diagonal")]
                lines.append([title(network), when, *cells])
    headings = ["network, with batch norm", "iteration", "gain of dF/dx", "gain of the block", "mean diagonal"]
    return markdown(headings, lines) + "\n\nMean over blocks and seeds, and the range over both."


def _spread(values: list[float]) -> str:
    shown = [f"{round(value, 2) + 0.0:.2f}" for value in (mean(values), min(values), max(values))]  # no minus zero
    return f"{shown[0]} ({shown[1]} to {shown[2]})"


def finding(results: Results) -> str:
    """The check of section 4.1's remark, in sentences."""
    steps = results.facts["steps"]
    networks = {row["network"] for row in results.tables["networks"]}
    seeds = {row["seed"] for row in results.tables["networks"]}
    plain = sorted((network for network in networks if network.startswith("plain")), key=depth)
    residual = sorted((network for network in networks if network.startswith("resnet")), key=depth)
    parts = [
        "The paper argues that degradation is not a matter of vanishing gradients, because batch norm keeps the "
        f"gradients of its plain networks healthy (section 4.1). "
        f"Seeds: {len(seeds)}; a figure without range has one."
    ]
    for step, when in ((0, "At the start"), (steps, f"After {steps} iterations")):
        told = ", ".join(_told(results, network, step) for network in plain)
        states = [_state(results, network, step) for network in plain]
        parts.append(
            f"{when} the gradient at their first block, divided by that at their last, is: {told}. {_verdict(states)}"
        )
    diagonals = [
        row["diagonal"]
        for row in results.tables["blocks"]
        if row["norm"] == "bn" and row["step"] == 0 and row["network"] in residual
    ]
    flat = [row["diagonal"] for row in results.tables["blocks"] if row["norm"] == "bn" and row["network"] in plain]
    if diagonals and flat:
        parts.append(
            f"The Jacobian of a residual block keeps the 1: its mean diagonal is {mean(diagonals):.2f}, a plain "
            f"block's {mean(flat):.2f}."
        )
    return " ".join(parts)


def _told(results: Results, network: str, step: int) -> str:
    ratios = _ratios(results, network, BN, step)
    return f"{title(network)} {_range(ratios)}" if ratios else f"{title(network)} not measured"


def _state(results: Results, network: str, step: int) -> str:
    ratios = _ratios(results, network, BN, step)
    if not ratios:
        return "not measured"
    value = mean(ratios)
    return "explodes" if value > HEALTHY else "vanishes" if value < 1 / HEALTHY else "healthy"


def _verdict(states: list[str]) -> str:
    """The remark against the measurement, in a sentence."""
    found = [
        f"{state} at {states.count(state)} of {len(states)} depths"
        for state in ("explodes", "vanishes")
        if state in states
    ]
    return f"It {' and '.join(found)}." if found else f"So it is healthy: within {HEALTHY}-fold."
