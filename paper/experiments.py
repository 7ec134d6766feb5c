"""The experiments by name, and how one is run: measure, keep the results, draw, write its page and the story."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template
from types import MappingProxyType

from paper import (
    architectures,
    bottleneck,
    costs,
    degradation,
    gradients,
    gradients_report,
    responses,
    shortcuts,
)
from paper.options import Options
from paper.results import Results, read, write_whole
from paper.study import data_note

STORY = Path(__file__).with_name("story.md")


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One experiment of the paper.

    Attributes:
        title: of its page.
        options: of the command that gave the published results, beside the experiment's name.
        picture: the one that the story shows, of the folder `images`.
        measure: runs it.
        draw: makes its pictures in a folder, from its results.
        page: the body of its page.
        finding: its result in a sentence or two.
    """

    title: str
    options: str
    picture: str
    measure: Callable[[Options], Results]
    draw: Callable[[Results, Path], None]
    page: Callable[[Results], str]
    finding: Callable[[Results], str]


TRAINING = " --data cifar10 --epochs 30 --seeds 2"

EXPERIMENTS: Mapping[str, Experiment] = MappingProxyType(
    {
        "costs": Experiment(
            title="What the networks cost",
            options="",
            picture="costs.png",
            measure=costs.measure,
            draw=costs.draw,
            page=costs.page,
            finding=costs.finding,
        ),
        "architectures": Experiment(
            title="VGG-19, plain-34 and ResNet-34 side by side",
            options="",
            picture="architectures.svg",
            measure=architectures.measure,
            draw=architectures.draw,
            page=architectures.page,
            finding=architectures.finding,
        ),
        "degradation": Experiment(
            title="Degradation: deeper plain networks train worse",
            options=TRAINING,
            picture="degradation-cifar-32px-30epochs.png",
            measure=degradation.measure,
            draw=degradation.draw,
            page=degradation.page,
            finding=degradation.finding,
        ),
        "gradients": Experiment(
            title="Gradients: vanishing, exploding, healthy",
            options=" --data cifar10 --seeds 2",
            picture="gradients-start.png",
            measure=gradients.measure,
            draw=gradients_report.draw,
            page=gradients_report.page,
            finding=gradients_report.finding,
        ),
        "shortcuts": Experiment(
            title="Shortcut options A, B and C",
            options=TRAINING,
            picture="shortcuts.png",
            measure=shortcuts.measure,
            draw=shortcuts.draw,
            page=shortcuts.page,
            finding=shortcuts.finding,
        ),
        "bottleneck": Experiment(
            title="Basic and bottleneck blocks at equal cost",
            options=" --data cifar10 --epochs 10 --seeds 2",
            picture="bottleneck.png",
            measure=bottleneck.measure,
            draw=bottleneck.draw,
            page=bottleneck.page,
            finding=bottleneck.finding,
        ),
        "responses": Experiment(
            title="How far each block is from the identity",
            options=TRAINING,
            picture="responses.png",
            measure=responses.measure,
            draw=responses.draw,
            page=responses.page,
            finding=responses.finding,
        ),
    }
)


def command(name: str) -> str:
    """The command that gives an experiment's published results."""
    return f"resserve paper {name}{EXPERIMENTS[name].options}"


def run(name: str, options: Options) -> Results:
    """Run one experiment, and write results, pictures, its page and the story to `options.out`.

    Args:
        name: a key of EXPERIMENTS.
        options: where, on what, and for how long.

    Raises:
        ResServeError: with a sentence for whoever started it.
    """
    results = EXPERIMENTS[name].measure(options)
    results.write(options.out / "results")
    EXPERIMENTS[name].draw(results, options.out / "images")
    write_whole(options.out / f"{name}.md", _page(name, results))
    tell(options.out)
    return results


def tell(out: Path) -> None:
    """Write README.md, the story, from the results that a folder holds.

    Raises:
        ResServeError: results are damaged, or the file cannot be written.
    """
    blocks = {name: _block(name, read(out / "results", name), out) for name in EXPERIMENTS}
    trained = read(out / "results", "degradation")
    note = data_note(trained) if trained else "The data set is named here once networks have been trained."
    story = Template(STORY.read_text(encoding="utf-8")).substitute(blocks, data=note)
    write_whole(out / "README.md", story)


def _page(name: str, results: Results) -> str:
    experiment = EXPERIMENTS[name]
    tables = ", ".join(f"[{table}](results/{name}-{table}.csv)" for table in sorted(results.tables))
    foot = f"Command: `{command(name)}`. Figures: {tables}, [JSON](results/{name}.json). [The whole story](README.md)"
    return f"# {experiment.title}\n\n{experiment.page(results)}\n\n---\n\n{foot}\n"


def _block(name: str, results: Results | None, out: Path) -> str:
    if results is None:
        return f"*Not run yet.* Command: `{command(name)}`"
    experiment = EXPERIMENTS[name]
    picture = f"![{experiment.title}](images/{experiment.picture})"
    parts = [
        experiment.finding(results),
        *([picture] if (out / "images" / experiment.picture).exists() else []),
        f"[{experiment.title}]({name}.md). Command: `{command(name)}`",
    ]
    return "\n\n".join(parts)
