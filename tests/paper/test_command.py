"""`resserve paper`: thin, with errors in one sentence."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from resserve.cli.paper import command
from resserve.errors import ResServeError

app = typer.Typer()
app.command()(command)


def test_an_experiment_without_data_runs(tmp_path: Path) -> None:
    """The drawing needs no option, and --json says where its page is."""
    result = CliRunner().invoke(app, ["architectures", "--out", str(tmp_path), "--json"], catch_exceptions=False)

    told = json.loads(result.stdout)
    assert told["experiment"] == "architectures"
    assert "34 layers" in told["finding"]
    assert Path(told["page"]).exists()


def test_options_reach_the_runs(images: Path, tmp_path: Path) -> None:
    """Depths, seeds, epochs and size on the command line are those of the runs that it trains."""
    options = ["--data", str(images), "--depth", "20", "--seeds", "1", "--epochs", "1", "--size", "8"]
    folders = ["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "docs")]

    result = CliRunner().invoke(app, ["degradation", *options, *folders], catch_exceptions=False)

    trained = {path.parent.name for path in (tmp_path / "runs").rglob("checkpoint.pt")}
    assert trained == {"plain20-8px-1epochs-seed1", "resnet20-A-8px-1epochs-seed1"}
    assert "resnet20-A-8px-1epochs-seed1: epoch 1/1" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["degradation"], "--data"),
        (["degradation", "--data", "nowhere"], "nowhere"),
        (["costs", "--budget", "2"], "2h"),
    ],
)
def test_what_cannot_run_says_why(arguments: list[str], sentence: str, tmp_path: Path) -> None:
    """No data, a folder that is not there, or a budget without unit end in a sentence, and nothing is written."""
    with pytest.raises(ResServeError, match=sentence):
        CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "docs")], catch_exceptions=False)

    assert not (tmp_path / "docs").exists()


def test_an_unknown_experiment_is_wrong_usage() -> None:
    """Exit code 2, and the names that there are."""
    result = CliRunner().invoke(app, ["everything"])

    assert result.exit_code == 2
    assert "degradation" in result.stderr
