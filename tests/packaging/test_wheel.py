"""The wheel: built from a clone, installed away from it, and serving there."""

import json
import re
import shutil
import site
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from resserve.cli import VERBS
from tests.support.digits import digit, held_out
from tests.support.service_process import environment, wait_until

ROOT = Path(__file__).parents[2]
ROOMS = {"models", "training", "export", "service", "bench", "paper", "resserve"}
STUBS = {f"resserve/v1/classifier_pb2{tail}" for tail in (".py", ".pyi", "_grpc.py")}
# The build tools of this environment are used, and nothing is asked of an index: the test needs no network.
PIP = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
OFFLINE = ["--no-deps", "--no-build-isolation", "--no-index"]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that a clone has: no stubs, which git ignores, and nothing that earlier builds left."""
    folder = tmp_path_factory.mktemp("clone")
    for name in _versioned():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    assert list(folder.rglob("*_pb2*")) == []
    return folder


@pytest.fixture(scope="module")
def wheel(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a clone."""
    return _build(clone, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with nothing but this wheel, and what it depends on within reach."""
    return _install(tmp_path_factory.mktemp("environment"), wheel)


def _versioned() -> list[str]:
    """Every file that is in git, or would be with the next `git add`."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return [name for name in names if (ROOT / name).is_file()]


def _build(source: Path, folder: Path) -> Path:
    """Build the wheel of a folder or of a source distribution."""
    _run([*PIP, "wheel", *OFFLINE, "--wheel-dir", folder, source], source.parent)
    return next(folder.glob("*.whl"))


def _install(folder: Path, *what: str | Path) -> Path:
    """An environment in which this is installed: the folder of its programs.

    Its dependencies are those of the environment that runs the tests. A path in a .pth file makes them importable
    without the .pth files that lie among them, one of which leads to the checkout. pip sees that environment's own
    ResServe along that path, and is told to leave it alone.
    """
    venv.create(folder, symlinks=True)
    packages = next(folder.glob("lib/python*/site-packages"))
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()))
    _run([*PIP, "--python", folder / "bin/python", "install", "--ignore-installed", *OFFLINE, *what], folder)
    return folder / "bin"


def _run(command: list[str | Path], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, env=_clean(), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _clean(**settings: str) -> dict[str, str]:
    """The environment without what would lead Python to the checkout."""
    return {name: value for name, value in environment(**settings).items() if name != "PYTHONPATH"}


def _names(wheel: Path) -> set[str]:
    return {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}


def test_holds_the_rooms_and_the_stubs(wheel: Path) -> None:
    """The wheel holds every file of the rooms, the page and the report among them, the stubs, and nothing else."""
    rooms = {name for name in _versioned() if Path(name).parts[0] in ROOMS}
    measured = {name for name in rooms if name.startswith("bench/results/")}  # the checkout's history of figures

    assert _names(wheel) == rooms - measured | STUBS
    assert {"service/web/page/index.html", "bench/compare/report.template.html"} <= rooms - measured


def test_source_distribution_builds_the_same_wheel(clone: Path, wheel: Path, tmp_path: Path) -> None:
    """What is published as source has proto/ too, and gives the same wheel."""
    source = shutil.copytree(clone, tmp_path / "clone", ignore=shutil.ignore_patterns("build", "*.egg-info"))
    script = f"from setuptools.build_meta import build_sdist; build_sdist({str(tmp_path)!r})"
    _run([sys.executable, "-c", script], source)
    (tmp_path / "again").mkdir()

    assert _names(_build(next(tmp_path.glob("*.tar.gz")), tmp_path / "again")) == _names(wheel)


def test_earlier_build_leaves_nothing(clone: Path, wheel: Path, tmp_path: Path) -> None:
    """A module that has left the checkout since it was built there is not in the next wheel."""
    source = shutil.copytree(clone, tmp_path / "clone", ignore=shutil.ignore_patterns("*.egg-info"))
    (source / "build/lib/service").mkdir(parents=True, exist_ok=True)
    (source / "build/lib/service/gone.py").touch()
    (tmp_path / "again").mkdir()

    assert _names(_build(source, tmp_path / "again")) == _names(wheel)


def test_editable_installation_has_stubs(clone: Path, tmp_path: Path) -> None:
    """With `pip install -e` the rooms are those of the checkout, and so are the stubs."""
    source = shutil.copytree(clone, tmp_path / "clone", ignore=shutil.ignore_patterns("build", "*.egg-info"))
    programs = _install(tmp_path / "environment", "-e", source)
    script = "import resserve.v1.classifier_pb2_grpc as stubs; print(stubs.__file__)"

    found = _run([programs / "python", "-c", script], tmp_path)

    assert found.strip() == str(source / "resserve/v1/classifier_pb2_grpc.py")


def test_serves_away_from_the_checkout(installed: Path, digits: Path, tmp_path: Path) -> None:
    """Installed without the checkout, `serve` reads a digit, `classify` and `models` ask it, SIGTERM ends it with 0."""
    ready = tmp_path / "ready.json"
    digit(held_out(7)).save(tmp_path / "seven.png")
    flags = ["--repository", digits, "--port", "0", "--http-port", "0", "--ready-file", ready]
    with (tmp_path / "log").open("wb") as log:
        service = subprocess.Popen([installed / "resserve", "serve", *flags], cwd=tmp_path, env=_clean(), stderr=log)
    try:
        wait_until(lambda: ready.exists() or service.poll() is not None, "the service is ready")
        assert ready.exists(), (tmp_path / "log").read_text()
        target = ["--target", json.loads(ready.read_text())["grpc"], "--json"]
        models = json.loads(_run([installed / "resserve", "models", *target], tmp_path))
        answers = json.loads(_run([installed / "resserve", "classify", "seven.png", *target], tmp_path))
    finally:
        service.terminate()
        code = service.wait(timeout=60)

    assert [(model["name"], model["state"]) for model in models] == [("digits", "ready")]
    assert [answer["labels"][0]["name"] for answer in answers] == ["digit 7"]
    assert code == 0


def test_command_line_is_whole(installed: Path, tmp_path: Path) -> None:
    """Help on everything imports every verb from the wheel and names it."""
    text = _run([installed / "resserve", "--help"], tmp_path)

    assert [verb for verb in VERBS if f" {verb} " not in text] == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "resnet20", "--data", "digits", "--out", "run"],
        ["export", "resnet20", "--name", "a"],
        ["verify", "a/1"],
        ["bench"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_rooms_that_are_left_out_are_named(wheel: Path, tmp_path: Path, arguments: list[str]) -> None:
    """Where only the rooms that serve are, as in the container image, other verbs name in a sentence what they need."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path, [name for name in _names(wheel) if name.startswith(("resserve/", "service/"))])
    program = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, *{site.getsitepackages()!r}]; sys.argv[0] = 'resserve'"
    command = [sys.executable, "-S", "-c", f"{program}\nfrom resserve.__main__ import main; main()", *arguments]
    done = subprocess.run(command, cwd=tmp_path, env=_clean(), capture_output=True, text=True, timeout=120)

    assert done.returncode == 1
    assert re.fullmatch(r"resserve: This needs \w+, which is not installed: run `pip install .*`\.\n", done.stderr)
