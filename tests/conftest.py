"""What every room's tests may use."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import hypothesis
import pytest

from tests.support.service_process import RESSERVE, Golden, Server, golden

# A slow machine is no failure.
hypothesis.settings.register_profile("resserve", deadline=None)
hypothesis.settings.load_profile("resserve")

# A script's background ignores Ctrl-C, and so would every process that a test starts there and interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _own_environment() -> None:
    """Settings of the person who runs the tests reach no service; what the tests themselves take is read by now."""
    for name in [name for name in os.environ if name.upper().startswith("RESSERVE_")]:
        del os.environ[name]


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with two tiny certified models, `alpha` (ResNet-20) and `beta` (plain-20), of 10 classes at 32 px.

    Tests that change it copy it first.
    """
    folder = tmp_path_factory.mktemp("repository")
    tail = ["--untrained", "--size", "32", "--classes", "10", "--repository", str(folder)]
    exports = [
        subprocess.Popen([RESSERVE, "export", architecture, "--name", name, *tail], stdout=subprocess.DEVNULL)
        for architecture, name in (("resnet20", "alpha"), ("plain20", "beta"))
    ]
    assert [export.wait(timeout=280) for export in exports] == [0, 0]
    return folder


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with one model, `digits` (ResNet-20 at 16 px), fitted and measured: its answers are right."""
    from export.export import export_checkpoint
    from tests.support.digits import write_checkpoint

    folder = tmp_path_factory.mktemp("digits")
    write_checkpoint(folder / "checkpoint.pt")
    return export_checkpoint(folder / "checkpoint.pt", name="digits", repository=folder / "weights").parent.parent


@pytest.fixture(scope="session")
def alpha(repository: Path) -> Golden:
    """The golden images of `alpha` and PyTorch's answers."""
    return golden(repository / "alpha" / "1")


@pytest.fixture(scope="session")
def beta(repository: Path) -> Golden:
    """The golden images of `beta` and PyTorch's answers."""
    return golden(repository / "beta" / "1")


@pytest.fixture(scope="session")
def service(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service of both models that all tests share: none of them may break it."""
    server = Server(repository, tmp_path_factory.mktemp("service"))
    yield server
    server.close()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts services of a test's own: `serve(repository, "--flag", RESSERVE_NAME="value")`.

    They are killed with the test, after which no process of theirs may be left.
    """
    servers: list[Server] = []

    def start(repository: Path, *flags: str, under: Sequence[str] = (), **settings: str) -> Server:
        folder = tmp_path / f"service-{len(servers)}"
        folder.mkdir()
        servers.append(Server(repository, folder, *flags, under=under, **settings))
        return servers[-1]

    yield start
    left = [pid for server in servers for pid in server.close()]
    assert left == [], "processes outlived their service"
