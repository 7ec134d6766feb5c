"""Which ONNX Runtime is installed."""

import re
from importlib import metadata
from pathlib import Path

import pytest

from resserve.errors import ResServeError
from resserve.runtime import DISTRIBUTIONS, check_onnxruntime


def install(folder: Path, name: str) -> None:
    """Lay out what pip leaves of a distribution, as importlib.metadata finds it."""
    info = folder / f"{name.replace('-', '_')}-1.30.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.30.0\n")


@pytest.fixture
def site_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty site-packages folder, the only one on the path."""
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    return tmp_path


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_one_package_is_named(site_packages: Path, name: str) -> None:
    """With exactly one of the two packages installed, the check names it."""
    install(site_packages, name)

    assert check_onnxruntime() == name


@pytest.mark.parametrize(
    ("installed", "advice"), [((), "pip install 'resserve[cpu]'"), (DISTRIBUTIONS, "pip uninstall onnxruntime")]
)
def test_none_or_both_is_an_error_that_says_what_to_run(
    site_packages: Path, installed: tuple[str, ...], advice: str
) -> None:
    """Neither package, and both packages, are refused with the command that mends it."""
    for name in installed:
        install(site_packages, name)

    with pytest.raises(ResServeError, match=re.escape(advice)):
        check_onnxruntime()


def test_this_environment_has_one() -> None:
    """The environment that runs the tests passes its own check, and the package named is really there."""
    assert metadata.version(check_onnxruntime())
