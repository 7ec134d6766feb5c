"""Basic and bottleneck blocks at equal cost: 34 layers become 50 (the paper's Figure 5 and Table 3)."""

from pathlib import Path
from statistics import mean

import torch

from models.resnet import BasicBlock, Bottleneck
from paper import study
from paper.drawing import OTHER, RESIDUAL, new_figure, save, style
from paper.names import title
from paper.options import Options
from paper.results import Results, Row
from paper.runs import default_run
from paper.shortcuts import cost
from paper.tables import markdown, over_seeds

COUNTED = TRAINED = ("resnet34", "resnet50")


def measure(options: Options) -> Results:
    """Count blocks and networks, and train both networks with option B, all of one seed before the next.

    Raises:
        ResServeError: training cannot go on, or the results there are of other images.
    """
    runs = [
        default_run(name, seed=seed, epochs=options.epochs, size=options.size)
        for seed in range(1, options.seeds + 1)
        for name in TRAINED
    ]
    results = study.train("bottleneck", options, runs)
    results.tables["costs"] = [cost(name, "B") for name in COUNTED]
    results.tables["blocks"] = [
        _block("basic, 64 channels", BasicBlock, 64),
        _block("bottleneck, 256", Bottleneck, 256),
    ]
    return results


def _block(name: str, block: type[BasicBlock] | type[Bottleneck], channels: int) -> Row:
    """One block of Figure 5 on 56x56 images, without shortcut weights."""
    with torch.device("meta"):
        module = block(channels, 64, 1, "A")
    layers = [layer for layer in module.modules() if isinstance(layer, torch.nn.Conv2d)]
    weights = sum(layer.weight.numel() for layer in layers)
    return {"block": name, "layers": len(layers), "weights": weights, "multiply_adds": weights * 56 * 56}


def draw(results: Results, folder: Path) -> None:
    """Training and test error over epochs, for each group of runs."""
    groups = study.groups(results)
    if not groups:
        return
    figure = new_figure(5.5 * len(groups), 3.4)
    for axes, (key, rows) in zip(figure.subplots(1, len(groups), squeeze=False)[0], groups.items(), strict=True):
        for network, shade in zip(TRAINED, (OTHER, RESIDUAL), strict=True):
            mine = [row for row in rows if row["network"] == network]
            for row in mine:
                history = [epoch for epoch in results.tables["epochs"] if epoch["run"] == row["run"]]
                places = [epoch["epoch"] for epoch in history]
                for quantity, line, width in (("train_error", "--", 1), ("test_error", "-", 2)):
                    label = title(network) if quantity == "test_error" and row is mine[0] else None
                    values = [100 * epoch[quantity] for epoch in history]
                    axes.plot(places, values, line, color=shade, linewidth=width, label=label)
        axes.set(xlabel="epoch", ylabel="error (%; solid: test, dashed: training)", ylim=(0, None))
        style(axes, title=f"{key[1]} pixels, {key[2]} epochs")
    save(figure, folder / "bottleneck.png")


def page(results: Results) -> str:
    """The page's body."""
    parts = [
        finding(results),
        "## One block",
        markdown(
            ["block", "layers", "weights", "multiply-adds at 56x56"],
            [
                [row["block"], row["layers"], f"{row['weights']:,}", f"{row['multiply_adds']:,}"]
                for row in results.tables["blocks"]
            ],
        ),
        "A bottleneck narrows 256 channels to 64 by a 1x1 convolution, computes 3x3 there, and widens again: three "
        "layers, four times the channels, for about the work of two 3x3 layers on 64 channels (Figure 5).",
        "## The networks at 224 pixels",
        markdown(
            ["network", "parameters", "multiply-adds", "published top-1 error (Table 3, option B)"],
            [
                [
                    title(row["network"]),
                    f"{row['parameters']:,}",
                    f"{row['multiply_adds']:,}",
                    f"{row['published_top1_error']:.2f} %",
                ]
                for row in results.tables["costs"]
            ],
        ),
        "## Errors",
    ]
    for (_, size, epochs), rows in study.groups(results).items():
        parts += [f"### {size} pixels, {epochs} epochs", study.error_table(rows)]
        parts += [study.schedule_note(size, epochs), study.provenance(rows)]
    parts += [
        "![Training and test error of both](images/bottleneck.png)" if results.tables["runs"] else "Not run yet.",
        "Both networks are made for images of 224 pixels. On small ones their stem leaves little: at 32 pixels the "
        "last stage sees a single pixel.",
        study.data_note(results),
    ]
    return "\n\n".join(parts)


def finding(results: Results) -> str:
    """Costs, and errors where both have a finished run, in sentences."""
    basic, bottleneck = results.tables["blocks"]
    costs = {row["network"]: row["multiply_adds"] for row in results.tables["costs"]}
    told = (
        f"A bottleneck of 256 channels has {bottleneck['weights']:,} weights in three layers, a basic block of 64 "
        f"channels {basic['weights']:,} in two. ResNet-50 takes {costs['resnet50'] / costs['resnet34']:.2f} times the "
        "multiply-adds of ResNet-34."
    )
    for rows in study.groups(results).values():
        errors = [list(study.finished(rows, "test_error", network=network).values()) for network in TRAINED]
        if all(errors):
            each = ", ".join(f"{title(name)} {over_seeds(found)}" for name, found in zip(TRAINED, errors, strict=True))
            verdict = (
                "lower, as in the paper" if mean(errors[1]) < mean(errors[0]) else "not lower, unlike in the paper"
            )
            return f"{told} Test errors: {each}: {verdict}."
    return f"{told} The errors are not measured for both yet."
