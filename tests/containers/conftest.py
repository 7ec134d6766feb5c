"""The image, built once, and the compose file's services as they are."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.support.podman import ROOT, Podman, why_not

SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]


@pytest.fixture(scope="session")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    """Podman with the base image, or a visible skip."""
    if reason := why_not():
        pytest.skip(reason)
    running = Podman(tmp_path_factory.mktemp("podman"))
    running.run("rm", "--all", "--force", "--time", "0")  # what a run that was killed has left
    running.ensure_base()
    yield running
    running.run("rm", "--all", "--force", "--time", "0")
    running.run("image", "prune", "--force")


@pytest.fixture(scope="session")
def image(podman: Podman) -> str:
    """The image of the compose file's CPU service, built from the checkout: its name."""
    podman.build()
    return SERVICES["resserve-cpu"]["image"]


@pytest.fixture
def container(podman: Podman, image: str) -> Iterator[Callable[..., str]]:
    """Starts containers of the image by `podman run`, confined as the compose file has it: `container(*flags)`."""
    started: list[str] = []
    confined = ["--read-only", "--read-only-tmpfs=false", "--cap-drop", "ALL"]

    def start(*flags: str | Path) -> str:
        started.append(podman.run("run", "--detach", *confined, *flags, image).strip())
        return started[-1]

    yield start
    for name in started:
        podman.run("rm", "--force", "--time", "0", name)


class Stack:
    """A folder as an operator has it: the compose file, its settings, the dashboards, and weights/."""

    def __init__(self, podman: Podman, folder: Path, weights: Path) -> None:
        self._podman, self._folder = podman, folder
        for name in ("docker-compose.yml", ".env"):
            shutil.copy(ROOT / name, folder)
        shutil.copytree(ROOT / "dashboards", folder / "dashboards")
        shutil.copytree(weights, folder / "weights")
        for path in (folder, *folder.rglob("*")):  # pytest's folders are closed to other users
            path.chmod(0o755 if path.is_dir() else 0o644)

    def compose(self, *arguments: str, **variables: str) -> str:
        # podman makes /tmp and more writable, unless told; Docker does not.
        return self._podman.compose(self._folder, "--podman-run-args=--read-only-tmpfs=false", *arguments, **variables)

    def container(self, service: str) -> str:
        """The name of a service's container."""
        return f"resserve_{service}_1"

    def up(self, service: str, **variables: str) -> str:
        """Start a service and wait until its own health check passes: its container."""
        self.compose("up", "--detach", service, **variables)
        self._podman.wait_until_healthy(self.container(service))
        return self.container(service)

    def logs(self, service: str) -> str:
        return self._podman.try_("logs", self.container(service))[1]


@pytest.fixture(scope="module")
def stack(podman: Podman, image: str, digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The compose file's project with a repository that has one model, `digits`; nothing of it runs yet."""
    podman.ensure_prometheus(SERVICES["prometheus"]["image"])
    running = Stack(podman, tmp_path_factory.mktemp("project"), digits)
    yield running
    running.compose("down", "--volumes", "--timeout", "0")
