"""Responses of trained networks: how far each block is from the identity (the paper's Figure 7)."""

from collections.abc import Iterator
from pathlib import Path
from statistics import mean

import torch
from matplotlib.axes import Axes
from torch import Tensor, nn

from paper import degradation, study
from paper.drawing import PLAIN, RESIDUAL, new_figure, save, style
from paper.images import Images
from paper.names import depth, family, sort_key, title
from paper.options import Options
from paper.probes import keeps_dimensions
from paper.results import Results, Row, merged, read
from paper.runs import Record
from paper.tables import markdown, over_seeds
from paper.tracing import blocks
from training.loop import Normalise

IMAGES = 1000  # test images that are looked at
AT_ONCE = 250


def measure(options: Options) -> Results:
    """Probe the networks of the degradation experiment, training what is not trained as far as the budget goes.

    Raises:
        ResServeError: training cannot go on, or the results there are of other images.
    """
    empty = Results(experiment="responses", tables={"runs": [], "layers": [], "blocks": []})
    results = read(options.out / "results", "responses") or empty
    results.facts["data"] = study.same_data(results, options)
    records = [options.training.train(run, options.budget) for run in degradation.runs(options)]
    for record in records:
        if record.checkpoint is not None:
            _add(results, record, options.images.test)
    return results


def _add(results: Results, record: Record, images: Images) -> None:
    """Put a run's rows in the place of its earlier ones."""
    layers, distances = _probe(record.checkpoint.build_model(), images)
    new = {"runs": [study.summary(record)]}
    for table, quantity, found in (("layers", "response", layers), ("blocks", "distance", distances)):
        new[table] = [
            {"run": record.run.name, "index": index, "name": name, quantity: value}
            for index, (name, value) in enumerate(found.items(), start=1)
        ]
    for table, rows in new.items():
        results.tables[table] = merged(results.tables[table], rows, "run")


def _probe(model: nn.Module, images: Images) -> tuple[dict[str, float], dict[str, float]]:
    """Standard deviation of each 3x3 layer's response, and each block's distance from the identity.

    A response is taken after batch norm and before the ReLU or the addition, as in Figure 7. The distance of a block
    that keeps its dimensions is |block(x) - x| / |x|, the mean over images.
    """
    squares: dict[str, list[Tensor]] = {}
    distances: dict[str, list[Tensor]] = {}

    def response(name: str, output: Tensor) -> None:
        values = output.double()
        squares.setdefault(name, []).append(torch.stack([values.mean(), values.square().mean()]))

    def distance(name: str, x: Tensor, output: Tensor) -> None:
        moved = (output - x).flatten(1).norm(dim=1) / x.flatten(1).norm(dim=1)
        distances.setdefault(name, []).append(moved)

    for name, module in _batch_norms(model):
        # A copy, because the ReLU that follows overwrites its input.
        module.register_forward_hook(lambda _, __, output, name=name: response(name, output.clone()))
    for name, block in blocks(model).items():
        if keeps_dimensions(block):
            block.register_forward_hook(lambda _, args, output, name=name: distance(name, args[0], output))
    model.eval()
    part = torch.linspace(0, len(images) - 1, min(IMAGES, len(images))).long()
    with torch.inference_mode():
        for pixels, _ in Images(images.pixels[part], images.labels[part]).batches(AT_ONCE):
            model(Normalise()(pixels))
    moments = {name: torch.stack(parts).mean(0) for name, parts in squares.items()}
    return (
        {name: float((square - mean_ * mean_).clamp(min=0).sqrt()) for name, (mean_, square) in moments.items()},
        {name: float(torch.cat(parts).mean()) for name, parts in distances.items()},
    )


def _batch_norms(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d) and "downsample" not in name:
            yield name, module


def draw(results: Results, folder: Path) -> None:
    """Responses layer by layer and sorted, as in Figure 7; below, each block's distance from the identity."""
    figure = new_figure(9, 7)
    in_order, by_size, moved = figure.subplots(3, 1)
    lines = ("-", "--", ":", "-.")
    networks = sorted({row["network"] for row in results.tables["runs"]}, key=sort_key)
    depths = sorted(set(map(depth, networks)))
    for network in networks:
        shade = PLAIN if family(network) == "plain" else RESIDUAL
        line = lines[depths.index(depth(network)) % len(lines)]
        _line(in_order, _values(results, "layers", "response", network), shade, line, title(network))
        ordered = [sorted(each, reverse=True) for each in _values(results, "layers", "response", network)]
        _line(by_size, ordered, shade, line, None)
        _line(moved, _values(results, "blocks", "distance", network), shade, line, None)
    for axes, label in ((in_order, "layer, in the network's order"), (by_size, "layer, by its response")):
        axes.set(xlabel=label, ylabel="std of the response", ylim=(0, None))
        style(axes)
    moved.set(xlabel="block, from the image (0) to the classes (1)", ylabel="|block(x) - x| / |x|", ylim=(0, None))
    style(moved)
    save(figure, folder / "responses.png")


def _values(results: Results, table: str, quantity: str, network: str) -> list[list[float]]:
    """A list of values for each run of a network, in the order of its layers or blocks."""
    runs = [row["run"] for row in results.tables["runs"] if row["network"] == network]
    return [[row[quantity] for row in results.tables[table] if row["run"] == run] for run in runs]


def _line(axes: Axes, values: list[list[float]], shade: str, line: str, label: str | None) -> None:
    by_place = list(zip(*values, strict=True))
    places = [index / max(1, len(by_place) - 1) for index in range(len(by_place))]
    axes.plot(places, list(map(mean, by_place)), line, color=shade, linewidth=1.4, label=label)
    axes.fill_between(places, list(map(min, by_place)), list(map(max, by_place)), color=shade, alpha=0.15, linewidth=0)


def page(results: Results) -> str:
    """The page's body."""
    return "\n\n".join(
        [
            finding(results),
            "![Standard deviations of the responses, and distances from the identity](images/responses.png)",
            "A response is the output of a 3x3 layer after batch norm and before the ReLU or the addition. For "
            "residual networks it shows how much a branch adds to its input. Measured on "
            f"{IMAGES:,} test images, evenly taken.",
            _table(results),
            study.data_note(results),
            study.provenance(results.tables["runs"]),
        ]
    )


def _table(results: Results) -> str:
    lines = []
    for network in sorted({row["network"] for row in results.tables["runs"]}, key=sort_key):
        mine = [row for row in results.tables["runs"] if row["network"] == network]
        done = ", ".join(f"{row['epochs_done']}/{row['epochs']}" for row in mine)
        responses, distances = _means(results, network)
        lines.append([title(network), done, over_seeds(responses, ".2f"), over_seeds(distances, ".2f")])
    headings = ["network", "epochs, by seed", "mean response of the blocks", "mean distance from the identity"]
    return markdown(headings, lines)


def _means(results: Results, network: str) -> tuple[list[float], list[float]]:
    """For each run of a network: its mean response, without the first layer's, and its blocks' mean distance."""
    responses = [mean(each[1:]) for each in _values(results, "layers", "response", network)]
    return responses, list(map(mean, _values(results, "blocks", "distance", network)))


def finding(results: Results) -> str:
    """Residual against plain of one depth, and deep against shallow residual, in sentences."""
    networks = sorted({row["network"] for row in results.tables["runs"]}, key=sort_key)
    unfinished = [row for row in results.tables["runs"] if row["epochs_done"] < row["epochs"]]
    parts = ["Not finished yet: some of these networks have not had all their epochs."] if unfinished else []
    told = {network: _means(results, network) for network in networks}
    for network in networks:
        twin = network.replace("plain", "resnet")
        if twin != network and twin in networks:
            (ours, moved), (theirs, plainly) = (tuple(map(mean, told[name])) for name in (twin, network))
            parts.append(
                f"A block of {title(twin)} moves its input by {moved:.2f} of the input's length on average, a block of "
                f"{title(network)} by {plainly:.2f}. The mean response of {title(twin)}'s layers is {ours:.2f}, of "
                f"{title(network)}'s {theirs:.2f}: " + _verdict(ours < theirs, unfinished)
            )
    residual = [network for network in networks if family(network) == "resnet"]
    if len(residual) > 1:
        shallow, deep = (mean(told[network][0]) for network in (residual[0], residual[-1]))
        parts.append(
            f"The mean response of {title(residual[-1])} is {deep:.2f}, of {title(residual[0])} {shallow:.2f}: "
            + _verdict(deep < shallow, unfinished)
            + " With more layers a single one should modify the signal less (section 4.2)."
        )
    return " ".join(parts)


def _verdict(smaller: bool, unfinished: list[Row]) -> str:
    """The comparison, and beside the paper's only when the networks are trained."""
    size = "smaller" if smaller else "not smaller"
    return f"{size} so far." if unfinished else f"{size}, {'as' if smaller else 'unlike'} in the paper."
