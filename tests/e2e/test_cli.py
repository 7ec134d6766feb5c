"""`resserve` as a user runs it: real processes, from an export to an answer and a clean end."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image
from skimage import data

RESSERVE = str(Path(sys.executable).with_name("resserve"))
SECONDS = 120


def resserve(*arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a verb to its end."""
    return subprocess.run(
        [RESSERVE, *map(str, arguments)],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )


@dataclass
class Running:
    """A `resserve serve` that said it is ready."""

    process: subprocess.Popen[str]
    target: str
    http: str
    pid: int


Serve = Callable[..., Running]


@contextmanager
def serving(folder: Path, *flags: object, **environment: str) -> Iterator[Running]:
    """Serve `folder`/weights on free ports until the block ends."""
    ready = folder / "ready.json"
    ready.unlink(missing_ok=True)
    command = [RESSERVE, "serve", "--port", "0", "--http-port", "0", "--ready-file", "ready.json", *map(str, flags)]
    process = subprocess.Popen(command, cwd=folder, env=os.environ | environment, stderr=subprocess.PIPE, text=True)
    try:
        until = time.monotonic() + SECONDS
        while not ready.exists():
            assert process.poll() is None, process.stderr and process.stderr.read()
            assert time.monotonic() < until
            time.sleep(0.02)
        addresses = json.loads(ready.read_text())
        yield Running(process, addresses["grpc"], addresses["http"], addresses["pid"])
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=SECONDS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: one exported model in weights/, and two photos."""
    folder = tmp_path_factory.mktemp("user")
    export = ("export", "resnet20", "--untrained", "--size", 32, "--classes", 10, "--name", "small")
    done = resserve(*export, cwd=folder)
    assert done.returncode == 0, done.stderr
    Image.fromarray(data.astronaut()).save(folder / "astronaut.jpg")
    Image.fromarray(data.coffee()).save(folder / "coffee.webp")
    return folder


@pytest.fixture(scope="module")
def running(folder: Path) -> Iterator[Running]:
    with serving(folder) as running:
        yield running


def test_photos_are_classified(folder: Path, running: Running) -> None:
    """Photos go in as files and come back with ten classes whose probabilities add up to 1, and adding timings."""
    photos = ("astronaut.jpg", "coffee.webp")
    done = resserve("classify", *photos, "--top", 10, "--json", "--target", running.target, cwd=folder)

    assert done.returncode == 0, done.stderr
    for answer, photo in zip(json.loads(done.stdout), photos, strict=True):
        assert answer["photo"] == photo
        assert answer["model"]["name"] == "small"
        assert answer["model"]["untrained"] is True
        probabilities = [label["probability"] for label in answer["labels"]]
        assert len(probabilities) == 10
        assert sum(probabilities) == pytest.approx(1, abs=1e-5)
        assert probabilities == sorted(probabilities, reverse=True)
        timings = answer["timings"]
        total = timings.pop("total")
        assert sum(timings.values()) == pytest.approx(total, rel=0.01)


def test_a_bad_photo_is_exit_code_1(folder: Path, running: Running) -> None:
    """A file that is no picture is named with its reason; the other is classified all the same."""
    (folder / "notes.txt").write_text("not a picture")

    done = resserve("classify", "notes.txt", "coffee.webp", "--target", running.target, cwd=folder)

    assert done.returncode == 1
    assert "notes.txt  The data has no known image format" in done.stdout
    assert "coffee.webp  small@1" in done.stdout


def test_only_what_is_served_answers(folder: Path, running: Running) -> None:
    """A model and a version that are not served are refused, naming what there is."""
    for model, refusal in (
        ("large", "There is no model 'large'; there is: small."),
        ("small@2", "in version 1, not 2"),
    ):
        done = resserve("classify", "coffee.webp", "--model", model, "--target", running.target, cwd=folder)

        assert done.returncode == 1
        assert refusal in done.stdout


def test_service_and_repository_agree(folder: Path, running: Running) -> None:
    """`resserve models` says the same of a running version as of its manifest on disk."""
    (served,) = json.loads(resserve("models", "--target", running.target, "--json", cwd=folder).stdout)
    (stored,) = json.loads(resserve("models", "--repository", "weights", "--json", cwd=folder).stdout)

    assert (served.pop("state"), stored.pop("state")) == ("ready", "whole")
    assert served["device"] == "cpu"
    assert {key: value for key, value in served.items() if key in stored} == {
        key: value for key, value in stored.items() if key != "created"
    }


def test_sigterm_ends_with_exit_code_0(folder: Path) -> None:
    """SIGTERM to the process named in the ready file ends the service cleanly, and its port is closed."""
    with serving(folder) as running:
        os.kill(running.pid, signal.SIGTERM)

        assert running.process.wait(timeout=SECONDS) == 0
    done = resserve("models", "--target", running.target, cwd=folder)
    assert (done.returncode, "Cannot reach a service" in done.stderr) == (1, True)


def test_a_busy_port_is_named(folder: Path, running: Running) -> None:
    """A second service on a taken gRPC or HTTP port ends with one sentence that names the port."""
    taken = {"--port": running.target.rpartition(":")[2], "--http-port": running.http.rpartition(":")[2]}
    for flag, port in taken.items():
        ports = {"--port": 0, "--http-port": 0} | {flag: port}
        done = resserve("serve", *(part for pair in ports.items() for part in pair), cwd=folder)

        assert done.returncode == 1
        assert port in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr


def test_flag_before_environment_before_file(folder: Path) -> None:
    """A flag wins over RESSERVE_*, which wins over resserve.toml, which wins over the default."""
    settings = folder / "resserve.toml"
    settings.write_text('repository = "nowhere-file"\n')
    try:
        from_file = resserve("serve", cwd=folder)
        from_environment = resserve("serve", cwd=folder, RESSERVE_REPOSITORY="nowhere-environment")
        from_flag = resserve("serve", "--repository", "nowhere-flag", cwd=folder, RESSERVE_REPOSITORY="x")
    finally:
        settings.unlink()

    for done, name in (
        (from_file, "nowhere-file"),
        (from_environment, "nowhere-environment"),
        (from_flag, "nowhere-flag"),
    ):
        assert done.returncode == 1
        assert f"There is no model repository at {name}" in done.stderr


def test_doctor_sees_the_running_service(folder: Path, running: Running) -> None:
    """The doctor counts the repository's versions, and says that the running service has the port."""
    port = running.target.rpartition(":")[2]
    done = resserve("doctor", "--json", cwd=folder, RESSERVE_PORT=port, RESSERVE_HTTP_PORT="0")

    assert done.returncode == 0, done.stderr
    findings = {finding["subject"]: finding for finding in json.loads(done.stdout)}
    assert findings["gRPC port"]["state"] == "note"
    assert "1 whole versions" in findings["repository"]["detail"]
