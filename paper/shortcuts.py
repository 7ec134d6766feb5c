"""Shortcut options A, B and C: what they cost, and the error that they bring (the paper's Table 3)."""

from pathlib import Path
from statistics import mean

import torch

from models import find
from paper import study
from paper.drawing import RESIDUAL, new_figure, save, style
from paper.names import depth, title
from paper.options import Options
from paper.results import Results, Row
from paper.runs import default_run
from paper.tables import markdown, over_seeds
from paper.tracing import trace

OPTIONS = ("A", "B", "C")
DEPTHS = (20,)
COUNTED = ("resnet20", "resnet56", "resnet34", "resnet50", "resnet152")


def measure(options: Options) -> Results:
    """Count the costs, and train a network with each option, all of one seed before the next.

    Raises:
        ResServeError: training cannot go on, or the results there are of other images.
    """
    runs = [
        default_run(f"resnet{layers}", seed=seed, epochs=options.epochs, size=options.size, shortcut=option)
        for seed in range(1, options.seeds + 1)
        for layers in options.depths or DEPTHS
        for option in OPTIONS
    ]
    results = study.train("shortcuts", options, runs)
    results.tables["costs"] = [cost(name, option) for name in COUNTED for option in OPTIONS]
    return results


def cost(name: str, option: str) -> Row:
    """Parameters and multiply-adds of a network with one shortcut option, beside the published errors on ImageNet."""
    entry = find(name)
    with torch.device("meta"):
        model = entry.build(num_classes=entry.classes, shortcut=option)
    published = {
        figure.quantity: figure.value
        for figure in entry.published
        if "10-crop" in figure.conditions and figure.conditions.endswith(f"shortcut {option}")
    }
    return {
        "network": name,
        "shortcut": option,
        "size": entry.input_size,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "multiply_adds": sum(layer.multiply_adds for layer in trace(model, entry.input_size)),
        "published_top1_error": published.get("top1_error", ""),
    }


def draw(results: Results, folder: Path) -> None:
    """Test error of each finished run over the option, for each group of runs."""
    groups = {key: rows for key, rows in study.groups(results).items() if study.finished(rows, "test_error")}
    if not groups:
        return
    figure = new_figure(4.5 * len(groups), 3.2)
    for axes, (key, rows) in zip(figure.subplots(1, len(groups), squeeze=False)[0], groups.items(), strict=True):
        for place, option in enumerate(OPTIONS):
            errors = [100 * error for error in study.finished(rows, "test_error", shortcut=option).values()]
            axes.plot([place] * len(errors), errors, "o", color=RESIDUAL, alpha=0.6)
            if errors:
                axes.plot(place, mean(errors), "_", color=RESIDUAL, markersize=28, markeredgewidth=2)
        axes.set_xticks(range(len(OPTIONS)), OPTIONS)
        axes.set(xlabel="shortcut option", ylabel="test error (%)", xlim=(-0.5, 2.5))
        style(axes, title=f"{', '.join(sorted({title(row['network']) for row in rows}))}, {key[2]} epochs")
    save(figure, folder / "shortcuts.png")


def page(results: Results) -> str:
    """The page's body."""
    parts = [
        finding(results),
        "A: the input itself, with zeros for the channels it lacks; no parameters. B: a 1x1 convolution where the "
        "dimensions change, the input itself elsewhere (both section 3.3). C: a 1x1 convolution on every shortcut "
        "(section 4.1).",
        "## Costs",
        markdown(
            ["network", "option", "parameters", "multiply-adds", "against A", "published top-1 error (Table 3)"],
            [_cost_line(results, row) for row in results.tables["costs"]],
        ),
        "Published errors are of ImageNet, ten crops. Table 3 compares the options at 34 layers only; its deeper "
        "networks use option B.",
        "## Errors",
    ]
    for (family, size, epochs), rows in study.groups(results).items():
        parts += [f"### The networks for {family}, {size} pixels, {epochs} epochs", study.error_table(rows)]
        parts += [study.schedule_note(size, epochs), study.provenance(rows)]
    if any(study.finished(rows, "test_error") for rows in study.groups(results).values()):
        parts += ["![Test error over the shortcut option](images/shortcuts.png)"]
    if not results.tables["runs"]:
        parts += ["Not run yet."]
    return "\n\n".join([*parts, study.data_note(results)])


def _cost_line(results: Results, row: Row) -> list[object]:
    least = next(
        each["multiply_adds"]
        for each in results.tables["costs"]
        if (each["network"], each["shortcut"]) == (row["network"], "A")
    )
    published = row["published_top1_error"]
    return [
        f"{title(row['network'])} at {row['size']}",
        row["shortcut"],
        f"{row['parameters']:,}",
        f"{row['multiply_adds']:,}",
        f"{row['multiply_adds'] / least:.2f}",
        f"{published:.2f} %" if published != "" else "-",
    ]


def finding(results: Results) -> str:
    """Costs, and errors where every option has a finished run, in sentences."""
    work = {(row["network"], row["shortcut"]): row["multiply_adds"] for row in results.tables["costs"]}
    ratio = {name: work[name, "C"] / work[name, "A"] for name in ("resnet34", "resnet152")}
    told = (
        f"Option C costs ResNet-34 {ratio['resnet34']:.2f} times the multiply-adds of option A, but the bottlenecks of "
        f"ResNet-152 {ratio['resnet152']:.2f} times: section 4.1 says that projections would double them."
    )
    for rows in study.groups(results).values():
        errors = {option: study.finished(rows, "test_error", shortcut=option) for option in OPTIONS}
        if all(errors.values()):
            layers = min(depth(row["network"]) for row in rows)
            each = ", ".join(f"{option} {over_seeds(list(found.values()))}" for option, found in errors.items())
            return f"{told} Test errors of ResNet-{layers}: {each}."
    return f"{told} The errors are not measured for all three options yet."
