"""The image by itself: its contents, its health check, and its manners."""

import os
import re
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.podman import Podman

pytestmark = pytest.mark.containers
Container = Callable[..., str]


@pytest.fixture
def weights(digits: Path, tmp_path: Path) -> Path:
    """A repository with one model that the image's user owns."""
    folder = shutil.copytree(digits, tmp_path / "weights")
    for path in (folder, *folder.rglob("*")):
        os.chown(path, 10001, 10001)
    return folder


def test_holds_the_service_and_no_more(podman: Podman, image: str, capsys: pytest.CaptureFixture[str]) -> None:
    """ONNX Runtime and the command are there; torch, compilers, sources and what trains are not. Prints the size."""
    base = podman.inspect(podman.ensure_base())["Size"]
    size = podman.inspect(image)["Size"]
    with capsys.disabled():
        print(f"\n{image}: {size / 1e6:.0f} MB, of which the base image {base / 1e6:.0f} MB")
    packages = podman.run("run", "--rm", "--entrypoint", "pip", image, "list")
    script = "command -v gcc cc make git; ls -d /src 2>/dev/null; find / -xdev -name classifier.proto 2>/dev/null; true"

    assert re.search(r"^onnxruntime ", packages, re.MULTILINE)
    assert not re.search(r"^(torch|torchvision|onnx|onnxscript|scikit-learn|matplotlib) ", packages, re.MULTILINE)
    assert podman.run("run", "--rm", "--entrypoint", "sh", image, "-c", script) == ""
    assert size - base < 300e6


def test_health_check_follows_the_settings(podman: Podman, container: Container, weights: Path) -> None:
    """With other ports, and a proxy in the environment that leads nowhere, the image knows that it is well."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        proxy = f"http://127.0.0.1:{free.getsockname()[1]}"
    settings = {"RESSERVE_HTTP_PORT": "9002", "RESSERVE_PORT": "9001", "http_proxy": proxy, "HTTP_PROXY": proxy}
    name = container(*(f"--env={key}={value}" for key, value in settings.items()), f"--volume={weights}:/weights:ro")

    podman.wait_until_healthy(name)
    podman.run("kill", "--signal", "STOP", name)
    code, said = podman.health(name)
    podman.run("kill", "--signal", "CONT", name)

    assert code == 1 and "No valid answer from http://0.0.0.0:9002/readyz (timed out)" in said
    podman.wait_until_healthy(name)


def test_refuses_without_models(podman: Podman, container: Container) -> None:
    """Without a repository the container ends with exit code 1 and a sentence."""
    name = container()
    podman.run("wait", name)

    assert podman.inspect(name)["State"]["ExitCode"] == 1
    assert re.fullmatch(r"resserve: .*/weights.*\n", podman.try_("logs", name)[1])


def test_names_what_is_not_in_it(podman: Podman, image: str) -> None:
    """A verb that the image leaves out says so in a sentence."""
    code, said = podman.try_("run", "--rm", "--no-healthcheck", image, "bench")

    assert code == 1
    assert said == "resserve: This needs bench, which is not installed: run `pip install 'resserve[bench]'`.\n"


def test_writable_repository_keeps_optimised_models(podman: Podman, container: Container, weights: Path) -> None:
    """What a start optimises is kept where the repository can be written, and found by the next start."""
    kept = weights / "digits" / ".optimised"
    contents = []
    for _ in range(2):
        name = container(f"--volume={weights}:/weights")
        podman.wait_until_healthy(name)
        podman.run("stop", name)
        contents.append({path: path.stat().st_mtime_ns for path in kept.rglob("*")})

    assert contents[0] and contents[0] == contents[1]
