"""Every experiment on small data: tables, pages, pictures and the story."""

import csv
import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from paper import bottleneck, costs, drawing, gradients, shortcuts
from paper.experiments import EXPERIMENTS, run
from paper.options import Options
from paper.results import read
from paper.runs import Budget
from resserve.errors import ResServeError
from tests.paper.conftest import paint

# Every column that a page is made from; a script of somebody else's may rest on them.
COLUMNS = {
    "costs-networks": "network layers parameters multiply_adds multiply_adds_as_published published_multiply_adds "
    "published_parameters difference",
    "costs-stages": "network stage output_size layers parameters multiply_adds",
    "architectures-layers": "network layer text output_size has_weights multiply_adds shortcut",
    "degradation-runs": "run network shortcut seed size epochs epochs_done train_error test_error precision machine "
    "torch date",
    "degradation-epochs": "run epoch iteration lr train_loss train_error test_loss test_error seconds",
    "gradients-networks": "key network norm gain seed loss outcome",
    "gradients-layers": "key network norm gain seed step index name gradient signal spread",
    "gradients-blocks": "key network norm gain seed step index name branch whole diagonal",
    "shortcuts-costs": "network shortcut size parameters multiply_adds published_top1_error",
    "bottleneck-blocks": "block layers weights multiply_adds",
    "responses-layers": "run index name response",
    "responses-blocks": "run index name distance",
}


@pytest.fixture
def shallow(small: Options, monkeypatch: pytest.MonkeyPatch) -> Options:
    """Networks of 20 and 32 layers instead of deep ones, and two iterations where a hundred are usual."""
    monkeypatch.setattr(bottleneck, "TRAINED", ("resnet20", "resnet32"))
    monkeypatch.setattr(costs, "CIFAR", ("resnet20",))
    monkeypatch.setattr(costs, "NETWORKS", ("resnet18", "resnet152", "plain34", "vgg16", "vgg19"))
    monkeypatch.setattr(shortcuts, "COUNTED", ("resnet34", "resnet152"))
    monkeypatch.setattr(drawing, "DPI", 30)
    monkeypatch.setattr(gradients, "STEPS", 2)
    return replace(small, depths=(20, 32))


def test_every_experiment_leaves_results_pictures_and_a_page(shallow: Options) -> None:
    """All seven run from one folder of images, and the story then lacks none of them."""
    for name in EXPERIMENTS:
        run(name, shallow if name in ("degradation", "responses") else replace(shallow, depths=(20,)))

    results = shallow.out / "results"
    for table, columns in COLUMNS.items():
        with (results / f"{table}.csv").open(newline="") as file:
            assert " ".join(next(csv.reader(file))) == columns
    for name in EXPERIMENTS:
        facts = json.loads((results / f"{name}.json").read_text())
        assert facts["experiment"] == name
        assert (results / f"{name}-{facts['tables'][0]}.csv").exists()
    story = (shallow.out / "README.md").read_text()
    assert "Not run yet" not in story
    assert "not measured" not in story
    for page in shallow.out.glob("*.md"):
        _check_links(page)


def _check_links(page: Path) -> None:
    """Every picture, page and table that a page names is there."""
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        assert link.startswith("http") or (page.parent / link).exists(), f"{page.name} names {link}"


def test_an_experiment_that_was_not_run_is_said_to_be_so(shallow: Options) -> None:
    """The story names the command of each missing part, and shows no figure for it."""
    run("costs", shallow)

    story = (shallow.out / "README.md").read_text()

    assert story.count("*Not run yet.* Command: `resserve paper ") == len(EXPERIMENTS) - 1
    assert "ResNet-152 takes 11.5 G" in story


def test_without_budget_the_runs_so_far_are_collected(small: Options) -> None:
    """A second call without time trains nothing, and gives the same results."""
    options = replace(small, depths=(20, 32))
    before = run("degradation", options)

    after = run("degradation", replace(options, budget=Budget(0)))

    assert after == before
    assert len(after.tables["runs"]) == 4


def test_unfinished_runs_are_said_to_be_so(small: Options) -> None:
    """A schedule that was cut short shows as such, and no final error is claimed."""

    class OneEpoch(Budget):
        """Enough for one epoch of every run."""

        def allows(self, seconds: float = 0.0) -> bool:
            """Once a run has an epoch, its last one's seconds are asked for."""
            return seconds == 0.0

    options = replace(small, depths=(20, 32), budget=OneEpoch())

    results = run("degradation", options)

    page = (small.out / "degradation.md").read_text()
    assert "Not finished yet: after 1 of 2 epochs" in page
    assert {row["train_error"] for row in results.tables["runs"]} == {""}


def test_earlier_seeds_are_kept(small: Options) -> None:
    """Results of other runs, measured elsewhere perhaps, stay beside the new ones."""
    options = replace(small, depths=(20,))
    run("degradation", replace(options, seeds=2))

    results = run("degradation", replace(options, runs=small.runs.with_name("elsewhere"), budget=Budget(0)))

    assert {row["seed"] for row in results.tables["runs"]} == {1, 2}


def test_results_of_other_images_are_not_mixed(small: Options, tmp_path: Path) -> None:
    """Results of two data sets never stand in one table."""
    run("degradation", replace(small, depths=(20,)))
    other = replace(small, depths=(20,), data=str(paint(tmp_path / "other", train=13)))

    with pytest.raises(ResServeError, match="other images"):
        run("degradation", other)


def test_probed_networks_are_not_probed_again(small: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gradients experiment goes on with the networks that its results lack."""
    monkeypatch.setattr(gradients, "STEPS", 1)
    monkeypatch.setattr(gradients, "KINDS", gradients.KINDS[:1])
    said: list[str] = []
    options = replace(small, depths=(20,), say=said.append)
    gradients.measure(options)

    again = gradients.measure(replace(options, seeds=2))

    probed = [line for line in said if line.endswith("probed")]
    assert len(probed) == len(set(probed)) == 4
    assert {row["seed"] for row in again.tables["layers"]} == {1, 2}


def test_training_needs_images(small: Options) -> None:
    """An experiment that trains says that it wants --data."""
    with pytest.raises(ResServeError, match="--data"):
        run("degradation", replace(small, data=None))


def test_the_drawing_shows_every_layer_and_shortcut(small: Options) -> None:
    """The SVG file holds a box for each layer of all three networks, and ResNet-34's 13 solid and 3 dotted arcs."""
    run("architectures", small)

    svg = ElementTree.parse(small.out / "images" / "architectures.svg").getroot()
    rows = read(small.out / "results", "architectures").tables["layers"]
    boxes = [element for element in svg.iter() if element.tag.endswith("rect")]
    arcs = [element for element in svg.iter() if element.tag.endswith("path") and "C" in element.get("d")]
    assert len(boxes) == len(rows)
    assert len(arcs) == 16
    assert sum(arc.get("stroke-dasharray") is not None for arc in arcs) == 3
