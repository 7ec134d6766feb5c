"""`resserve compare` and the limits' cells against the real service, with a network of almost no work."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from bench.compare.charts import pareto
from bench.compare.report import html
from bench.compare.rounds import PAPER_MULTIPLY_ADDS
from bench.host.models import Untrained, version_directory, write_stub
from bench.host.service import RESSERVE, serving
from bench.limits.__main__ import ROWS, table
from bench.limits.experiments import Bench, endurance, request_cost
from bench.load.images import photo_jpegs
from resserve.errors import ResServeError
from resserve.files import GOLDEN
from resserve.manifest import read_manifest, write_manifest

CHROMIUM = shutil.which("chromium")


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """Two models of almost no work, that know what they were trained on."""
    folder = tmp_path_factory.mktemp("weights")
    for name in ("first", "second"):
        directory = write_stub(folder, name)
        write_manifest(directory, read_manifest(directory).model_copy(update={"untrained": False}))
    return folder


@pytest.fixture(scope="module")
def pictures(repository: Path, tmp_path_factory) -> Path:
    """24 labelled pictures of one colour each; every fourth lies in the wrong folder."""
    directory = version_directory(repository, "first")
    golden = np.load(directory / GOLDEN)
    colours = golden["images"].mean(axis=(1, 2))
    weights, *_ = np.linalg.lstsq(colours, golden["logits"], rcond=None)
    rng = np.random.default_rng(0)
    data = tmp_path_factory.mktemp("data")
    for index in range(24):
        colour = rng.integers(0, 256, 3, dtype=np.uint8)
        label = int(np.argmax(colour @ weights))
        folder = data / "val" / str((label + (index % 4 == 0)) % 8)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.broadcast_to(colour, (40, 48, 3)).copy()).save(folder / f"{index}.png")
    return data


@pytest.fixture(scope="module")
def found(repository: Path, pictures: Path, tmp_path_factory) -> tuple[dict, Path]:
    """What one comparison printed, and its folder."""
    out = tmp_path_factory.mktemp("compare")
    command = [RESSERVE, "compare", "first", "second", "--repository", str(repository), "--data", str(pictures)]
    command += ["--rounds", "2", "--seconds", "0.5", "--out", str(out), "--json", "--objective", "p99=200ms"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout), out


def test_every_figure_has_its_spread(found) -> None:
    """Each model has a turn in each round, and its figures are the medians of the rounds between their extremes."""
    data, out = found

    assert json.loads((out / "report.json").read_text()) == data
    for model in data["models"]:
        assert len(model["rounds"]) == 2
        for key, figure in model["figures"].items():
            assert figure["low"] <= figure["value"] <= figure["high"]
            if "ratio" not in key:
                assert figure["value"] == pytest.approx(np.median([turn[key] for turn in model["rounds"]]))
        assert np.all(np.diff(model["latency_cdf"]) >= 0)
        assert 0 < model["figures"]["pss_idle"]["value"] < 1e9 and model["file_bytes"] > 100


def test_ratios_are_taken_within_a_round(found) -> None:
    """The ratio to the baseline pairs each round's two turns; the baseline's own is 1."""
    first, second = found[0]["models"]
    pairs = zip(second["rounds"], first["rounds"], strict=True)
    ratios = [own["latency_p50"] / base["latency_p50"] for own, base in pairs]

    assert found[0]["baseline"] == "first" and first["figures"]["latency_ratio"]["value"] == 1
    assert second["figures"]["latency_ratio"]["low"] == pytest.approx(min(ratios))
    assert second["figures"]["latency_ratio"]["high"] == pytest.approx(max(ratios))


def test_accuracy_is_counted_through_the_service(found) -> None:
    """18 of 24 pictures lie where the model puts them: that share, with Wilson's interval."""
    for model in found[0]["models"]:
        assert model["accuracy"] == {
            "value": 0.75,
            "low": pytest.approx(0.551, abs=0.001),
            "high": pytest.approx(0.880, abs=0.001),
        }


def test_report_needs_nothing_else(found) -> None:
    """The page fetches nothing: no source, style sheet or font from elsewhere."""
    page = (found[1] / "report.html").read_text()
    own = page.replace(page[page.index("plotly.js v") : page.index("<section>", page.index("plotly.js v"))], "")

    assert "src=" not in own and "href=" not in own and "@import" not in own and "$" not in own.split("<script", 1)[0]


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_report_draws_every_chart(found, tmp_path: Path) -> None:
    """In a real browser with no network all five charts are drawn."""
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={tmp_path}", "--virtual-time-budget=10000", "--dump-dom",
    ]  # fmt: skip
    ended = subprocess.run(
        [*command, (found[1] / "report.html").as_uri()], capture_output=True, text=True, timeout=100, check=True
    )

    for number in range(5):
        drawn = ended.stdout.split(f'id="chart{number}"')[1].split("</section>")[0]
        assert 'class="main-svg"' in drawn


def test_names_are_text_not_markup(found) -> None:
    """A model's name cannot smuggle markup into the page."""
    hostile = json.loads(json.dumps(found[0]).replace('"second"', '"<img src=x onerror=alert(1)>"'))

    assert "<img" not in html(hostile).replace("\\u003cimg", "")


def test_unknown_models_and_classes_are_told(repository, pictures, tmp_path) -> None:
    """A model that is not there, and data of other classes, end in one sentence before anything is measured."""
    (tmp_path / "val" / "zebra").mkdir(parents=True)
    shutil.copy(next(pictures.rglob("*.png")), tmp_path / "val" / "zebra")
    for arguments, words in (
        (["third"], "has no model third; it has: first, second"),
        (["first", "--data", str(tmp_path)], "knows no class 'zebra'"),
    ):
        command = [RESSERVE, "compare", *arguments, "--repository", str(repository), "--out", str(tmp_path / "out")]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)

        assert ended.returncode == 1 and words in ended.stderr and not (tmp_path / "out").exists()


def test_interrupted_comparison_leaves_no_process(repository, tmp_path) -> None:
    """Ctrl-C in the middle of a load ends the service, its workers and the generators."""
    command = [RESSERVE, "compare", "first", "--repository", str(repository), "--seconds", "30", "--out", str(tmp_path)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    family: set[psutil.Process] = set()
    until = time.monotonic() + 60
    while not any("service.worker" in " ".join(_line(p)) for p in family) and time.monotonic() < until:
        family |= set(psutil.Process(process.pid).children(recursive=True))
        time.sleep(0.1)
    time.sleep(1)
    family |= set(psutil.Process(process.pid).children(recursive=True))
    os.killpg(process.pid, signal.SIGINT)
    process.wait(timeout=60)
    _, alive = psutil.wait_procs(family, timeout=10)

    assert len(family) >= 2 and alive == []
    assert not list(tmp_path.iterdir())


def _line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def test_service_that_does_not_start_shows_its_log(tmp_path) -> None:
    """The error has the command, the exit code and the end of the log, and no process stays."""
    with pytest.raises(ResServeError, match=r"ended with code 1(?s:.)*model repository"), serving(tmp_path / "no", []):
        pass


def test_cells_measure_the_service(repository, tmp_path) -> None:
    """The cells that need no large network run against the real service and give the figures of their rows."""
    write_stub(tmp_path)
    bench = Bench(repository=tmp_path, photos=photo_jpegs(2), seconds=0.5, reference_seconds=0.2, requests=1200)
    cost, memory = request_cost(bench), endurance(bench)
    printed = table({"request": [cost, cost | {"ms": 99.0}, cost | {"ms": 98.0}], "endurance": [memory]})

    assert 0.01 < cost["ms"] < 50 and cost["per_second"] > 10
    assert 0.5 < memory["ratio"] < 2 and memory["requests"] == 1200
    assert "[red]falls short" in list(printed.columns[4].cells)
    assert "98 ms" in list(printed.columns[1].cells)


def test_rows_know_their_bars() -> None:
    """Lower bars are reached from above, upper ones kept from below, and rows without a bar judge nothing."""
    from bench.load.stats import Estimate

    by_figure = {(row.cell, row.figure): row for row in ROWS}
    at_least, at_most = by_figure["closed", "16/ideal"], by_figure["request", "ms"]

    assert at_least.judge(Estimate(0.98, 0.9, 1.0)) and not at_least.judge(Estimate(0.979, 0.97, 1.0))
    assert at_most.judge(Estimate(0.5, 0.4, 0.6)) and not at_most.judge(Estimate(0.51, 0.4, 0.6))
    assert by_figure["closed", "16/raw"].judge(Estimate(0.1, 0.1, 0.1)) is None


def test_pareto_front_keeps_only_the_unbeaten() -> None:
    """A point is on the front when nothing is both as fast and more accurate, or faster and as accurate."""
    points = [(1.0, 0.5), (2.0, 0.9), (3.0, 0.8), (4.0, 0.95), (2.0, 0.7), (5.0, 0.95)]

    assert pareto(points) == [(1.0, 0.5), (2.0, 0.9), (4.0, 0.95)]


def test_papers_ratio_of_resnet152_to_vgg16() -> None:
    """11.3 against 15.3 billion multiply-adds (He et al. 2015, Table 1 and section 4.1)."""
    ratio = PAPER_MULTIPLY_ADDS["resnet152"] / PAPER_MULTIPLY_ADDS["vgg16"]

    assert ratio == pytest.approx(0.739, abs=0.001)


def test_untrained_names_tell_the_precision() -> None:
    """`resnet50-int8` is ResNet-50 quantised, and names itself so in the repository."""
    found = Untrained.parse("resnet50-int8", 224)

    assert (found.architecture, found.precision, found.name) == ("resnet50", "int8", "resnet50-int8")
    assert Untrained.parse("vgg16", 64) == Untrained("vgg16", "fp32", 64)
