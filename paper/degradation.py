"""Deeper plain networks have a higher training error; deeper residual ones have not (the paper's Figures 1, 4, 6)."""

from pathlib import Path
from statistics import mean

from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from paper import study
from paper.drawing import INK, SHADES, new_figure, save, style
from paper.names import depth, title
from paper.options import Options
from paper.results import Results, Row
from paper.runs import Run, default_run
from paper.tables import over_seeds

DEPTHS = (20, 56)


def measure(options: Options) -> Results:
    """Train plain and residual networks of each depth, all of one seed before the next."""
    return study.train("degradation", options, runs(options))


def runs(options: Options) -> list[Run]:
    """The runs, in order of their worth: a whole comparison comes before its repetition."""
    return [
        _run(f"{family}{depth}", seed, options)
        for seed in range(1, options.seeds + 1)
        for depth in options.depths or DEPTHS
        for family in ("resnet", "plain")
    ]


def _run(network: str, seed: int, options: Options) -> Run:
    # Figure 4 and Table 2 have option A at all depths, so that plain and residual networks have the same weights.
    shortcut = "A" if network.startswith("resnet") else None
    return default_run(network, seed=seed, epochs=options.epochs, size=options.size, shortcut=shortcut)


def draw(results: Results, folder: Path) -> None:
    """A picture for each group of runs: training error dashed, test error solid, plain left, residual right."""
    for key, rows in study.groups(results).items():
        figure = new_figure(9, 4)
        panels = figure.subplots(1, 2, sharey=True)
        last = max(_iterations(results, row) for row in rows)
        for axes, family in zip(panels, ("plain", "resnet"), strict=True):
            mine = [row for row in rows if row["network"].startswith(family)]
            for shade, network in zip(SHADES, sorted({row["network"] for row in mine}, key=depth), strict=False):
                _curves(axes, results, [row for row in mine if row["network"] == network], shade)
            axes.set(xlabel="iterations (10³)", ylim=(0, 0.8), xlim=(0, last / 1000))
            axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
            style(axes, title="plain" if family == "plain" else "residual")
        panels[0].set_ylabel("error (solid: test, dashed: training)")
        save(figure, folder / _picture(key))


def _iterations(results: Results, row: Row) -> int:
    """Iterations of a run's whole schedule, however far it has come."""
    first = next(epoch for epoch in results.tables["epochs"] if epoch["run"] == row["run"])
    return first["iteration"] * row["epochs"]


def _curves(axes: Axes, results: Results, rows: list[Row], shade: str) -> None:
    """One network: the mean over its seeds, and their range."""
    by_run = {row["run"]: [] for row in rows}
    for epoch in results.tables["epochs"]:
        if epoch["run"] in by_run:
            by_run[epoch["run"]].append(epoch)
    length = min(map(len, by_run.values()))
    epochs = list(zip(*(history[:length] for history in by_run.values()), strict=True))
    iterations = [each[0]["iteration"] / 1000 for each in epochs]
    for quantity, line, width in (("train_error", "--", 1.0), ("test_error", "-", 2.0)):
        values = [[row[quantity] for row in each] for each in epochs]
        seeds = f" ({len(rows)} seeds)" if len(rows) > 1 else ""
        label = f"{title(rows[0]['network'])}{seeds}" if quantity == "test_error" else None
        axes.plot(iterations, [mean(each) for each in values], line, color=shade, linewidth=width, label=label)
        axes.fill_between(iterations, list(map(min, values)), list(map(max, values)), color=shade, alpha=0.15, lw=0)
    if length < rows[0]["epochs"]:
        axes.axvline(iterations[-1], color=INK, linewidth=0.8, linestyle=":")


def _picture(key: tuple[str, int, int]) -> str:
    family, size, epochs = key
    return f"degradation-{family.lower()}-{size}px-{epochs}epochs.png"


def page(results: Results) -> str:
    """The page's body."""
    parts = [study.data_note(results)]
    for key, rows in study.groups(results).items():
        family, size, epochs = key
        parts += [
            f"## The networks for {family}, {size} pixels, {epochs} epochs",
            _finding(results, rows),
            f"![Training and test error over iterations](images/{_picture(key)})",
            "Solid lines are test errors. Dashed lines are training errors of the varied images, while the network was "
            "changing; the table's are of the finished network on the training images as they are. A dotted line marks "
            "where an unfinished run stands.",
            study.error_table(rows),
            study.schedule_note(size, epochs),
            study.provenance(rows),
        ]
    return "\n\n".join(parts)


def finding(results: Results) -> str:
    """The result of the first group, which is the paper's own on CIFAR-10."""
    return _finding(results, next(iter(study.groups(results).values()), []))


def _finding(results: Results, rows: list[Row]) -> str:
    sentences = []
    for family in ("plain", "resnet"):
        depths = sorted({depth(row["network"]) for row in rows if row["network"].startswith(family)})
        if len(depths) < 2:
            continue
        sentences.append(_comparison(results, rows, f"{family}{depths[0]}", f"{family}{depths[-1]}"))
    if sentences:
        return " ".join(sentences)
    so_far = ", ".join(f"{title(row['network'])} has {row['epochs_done']} of {row['epochs']} epochs" for row in rows)
    return f"Not run yet at two depths{': ' if rows else ''}{so_far}."


def _comparison(results: Results, rows: list[Row], shallow: str, deep: str) -> str:
    """The deeper network's training error beside the shallower one's, over the seeds that both have."""
    errors = [study.finished(rows, "train_error", network=network) for network in (shallow, deep)]
    when = "After training"
    if not (errors[0].keys() & errors[1].keys()):
        epoch = _common_epoch(rows, shallow, deep)
        errors = [_at(results, rows, network, epoch) for network in (shallow, deep)]
        when = f"Not finished yet: after {epoch} of {rows[0]['epochs']} epochs"
    seeds = sorted(errors[0].keys() & errors[1].keys())
    low, high = ([errors[index][seed] for seed in seeds] for index in (0, 1))
    higher = [b > a for a, b in zip(low, high, strict=True)]
    verdict = "higher" if all(higher) else "higher in some seeds only" if any(higher) else "not higher"
    told = f"{when}, {title(deep)} has a training error of {over_seeds(high)}, {title(shallow)} of {over_seeds(low)}"
    if when.startswith("Not"):
        return f"{told}."  # the paper's claim is about the end of training
    expected = verdict == ("higher" if deep.startswith("plain") else "not higher")
    return f"{told}: the deeper network's is {verdict}, {'as' if expected else 'unlike'} in the paper."


def _common_epoch(rows: list[Row], *networks: str) -> int:
    """The last epoch that a run of each network has reached with the same seed."""
    done = [{row["seed"]: row["epochs_done"] for row in rows if row["network"] == network} for network in networks]
    return max((min(each[seed] for each in done) for seed in set.intersection(*map(set, done))), default=0)


def _at(results: Results, rows: list[Row], network: str, epoch: int) -> dict[int, float]:
    seeds = {row["run"]: row["seed"] for row in rows if row["network"] == network}
    return {
        seeds[row["run"]]: row["train_error"]
        for row in results.tables["epochs"]
        if row["run"] in seeds and row["epoch"] == epoch
    }
