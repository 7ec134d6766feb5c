"""`resserve` and the Python client as a user has them: real processes, certified models, known answers."""

import asyncio
import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resserve.client import AsyncClient, Client, Prediction
from resserve.errors import InvalidInputError, NotFoundError
from tests.support.service_process import RESSERVE, Golden, Server, environment, refuse


def resserve(*arguments: object, cwd: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a verb to its end."""
    return subprocess.run(
        [RESSERVE, *map(str, arguments)],
        cwd=cwd,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=120,
    )


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


@pytest.fixture
def photos(tmp_path: Path, alpha: Golden) -> list[Path]:
    """The golden images of `alpha` as files."""
    paths = [tmp_path / f"{number}.png" for number in range(len(alpha.pngs))]
    for path, png in zip(paths, alpha.pngs, strict=True):
        path.write_bytes(png)
    return paths


def test_photos_get_pytorchs_answers(service: Server, photos: list[Path], alpha: Golden, tmp_path: Path) -> None:
    """Each photo's classes come in the order and with the probabilities of PyTorch, and its timings add up."""
    done = resserve(
        "classify", *photos, "--model", "alpha", "--top", 10, "--json", "--target", service.address, cwd=tmp_path
    )

    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    expected = np.exp(alpha.logits) / np.exp(alpha.logits).sum(axis=1, keepdims=True)
    for answer, photo, probabilities in zip(answers, photos, expected, strict=True):
        assert answer["photo"] == str(photo)
        assert answer["model"]["name"] == "alpha"
        got = {label["index"]: label["probability"] for label in answer["labels"]}
        assert [got[index] for index in range(10)] == pytest.approx(probabilities, abs=1e-4)
        assert list(got.values()) == sorted(got.values(), reverse=True)
        total = answer["timings"].pop("total")
        assert sum(answer["timings"].values()) == pytest.approx(total, rel=0.01)


def test_a_bad_photo_is_exit_code_1(service: Server, photos: list[Path], tmp_path: Path) -> None:
    """A file that is no picture is named with its reason; the other is classified all the same."""
    (tmp_path / "notes.txt").write_text("not a picture")

    done = resserve("classify", "notes.txt", "0.png", "--model", "beta@1", "--target", service.address, cwd=tmp_path)

    assert done.returncode == 1
    assert "notes.txt  The data has no known image format" in done.stdout
    assert "0.png  beta@1, plain20 fp32 on cpu  untrained" in done.stdout


def test_only_what_is_served_answers(service: Server, photos: list[Path], tmp_path: Path) -> None:
    """A model and a version that are not served are refused, saying what is."""
    refusals = {"gamma": "alpha, beta", "alpha@2": "is served in version 1, not 2"}
    for model, refusal in refusals.items():
        done = resserve("classify", "0.png", "--model", model, "--target", service.address, cwd=tmp_path)

        assert done.returncode == 1
        assert refusal in done.stdout


def test_service_and_repository_agree(service: Server, repository: Path, tmp_path: Path) -> None:
    """`resserve models` says the same of a running version as of its manifest on disk."""
    served = json.loads(resserve("models", "--target", service.address, "--json", cwd=tmp_path).stdout)
    stored = json.loads(resserve("models", "--repository", repository, "--json", cwd=tmp_path).stdout)

    assert [row["name"] for row in served] == ["alpha", "beta"]
    for running, on_disk in zip(served, stored, strict=True):
        assert (running.pop("state"), on_disk.pop("state")) == ("ready", "whole")
        assert (running["device"], running["provider"]) == ("cpu", "CPUExecutionProvider")
        assert running["plan"]
        del on_disk["created"]
        assert on_disk.items() <= running.items()


def test_the_client_gets_pytorchs_logits(service: Server, alpha: Golden) -> None:
    """Files, arrays and Pillow images, in one request and over a stream, blocking and asyncio: PyTorch's logits."""
    arrays = [pixels(png) for png in alpha.pngs]
    images = [*alpha.pngs, *arrays, *map(Image.fromarray, arrays)]

    async def ask() -> list[object]:
        async with AsyncClient(service.address) as client:
            stream = [pair async for pair in client.classify_stream(images, model="alpha", logits=True)]
            return [*await client.classify(images, model="alpha", logits=True), *dict(sorted(stream)).values()]

    with Client(service.address) as client:
        answers: list[object] = [*client.classify(images, model="alpha", logits=True)]
        answers += dict(sorted(client.classify_stream(images, model="alpha", logits=True))).values()
    answers += asyncio.run(ask())

    assert len(answers) == 4 * len(images)
    for answer, logits in zip(answers, np.tile(alpha.logits, (12, 1)), strict=True):
        assert isinstance(answer, Prediction), answer
        assert answer.logits == pytest.approx(logits, abs=alpha.tolerance)


def test_the_clients_errors_are_the_services(service: Server, alpha: Golden) -> None:
    """An unknown model, no model among several, and a file that is no image have exceptions of their own."""
    with Client(service.address) as client:
        with pytest.raises(NotFoundError, match="alpha, beta"):
            client.classify(alpha.pngs[0], model="gamma")
        with pytest.raises(InvalidInputError, match="alpha, beta"):
            client.classify(alpha.pngs[0])
        good, bad = client.classify([alpha.pngs[0], b"no image"], model="beta")

    assert isinstance(good, Prediction)
    assert isinstance(bad, InvalidInputError)


def test_sigterm_ends_with_exit_code_0(serve: Callable[..., Server], repository: Path, tmp_path: Path) -> None:
    """SIGTERM ends the service cleanly; afterwards the command line says that there is none."""
    server = serve(repository, "--model", "alpha")

    assert server.stop() == 0
    done = resserve("models", "--target", server.address, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "Cannot reach a service" in done.stderr


@pytest.mark.parametrize("flag", ["--port", "--http-port"])
def test_a_busy_port_is_named(service: Server, repository: Path, tmp_path: Path, flag: str) -> None:
    """A second service on a taken port ends with a sentence, the last on stderr, that names it."""
    port = {"--port": service.address, "--http-port": service.http}[flag].rpartition(":")[2]

    code, stderr = refuse(repository, tmp_path, flag, port)

    assert code == 1
    assert stderr.splitlines()[-1].startswith(f"resserve: Port {port} ")
    assert "Traceback" not in stderr


def test_flag_before_environment_before_file(tmp_path: Path) -> None:
    """A flag wins over RESSERVE_*, which wins over resserve.toml."""
    (tmp_path / "resserve.toml").write_text('repository = "from-file"\n')
    runs = {
        "from-file": resserve("serve", cwd=tmp_path),
        "from-environment": resserve("serve", cwd=tmp_path, RESSERVE_REPOSITORY="from-environment"),
        "from-flag": resserve("serve", "--repository", "from-flag", cwd=tmp_path, RESSERVE_REPOSITORY="x"),
    }

    for name, done in runs.items():
        assert done.returncode == 1
        assert f"There is no model repository at {name}" in done.stderr


def test_doctor_sees_the_running_service(service: Server, repository: Path, tmp_path: Path) -> None:
    """The doctor counts the repository's versions, and says that the running service has the port."""
    port = service.address.rpartition(":")[2]
    settings = {"RESSERVE_PORT": port, "RESSERVE_HTTP_PORT": "0", "RESSERVE_REPOSITORY": str(repository)}
    done = resserve("doctor", "--json", cwd=tmp_path, **settings)

    assert done.returncode == 0, done.stderr
    findings = {finding["subject"]: finding for finding in json.loads(done.stdout)}
    assert findings["gRPC port"]["state"] == "note"
    assert "2 models, 2 whole versions, 2 of them untrained" in findings["repository"]["detail"]


@pytest.mark.parametrize("flags", [["--help"], ["--prot", "8001"], ["--port", "many"]], ids=" ".join)
def test_serve_that_does_not_serve_starts_no_process(tmp_path: Path, flags: list[str]) -> None:
    """Help and mistyped flags cost nobody a worker."""
    log = tmp_path / "started"
    hook = f"""
import sys
sys.addaudithook(lambda event, _: event == "subprocess.Popen" and open({str(log)!r}, "a").write("x"))
"""
    (tmp_path / "sitecustomize.py").write_text(hook)
    done = subprocess.run(
        [RESSERVE, "serve", *flags], env=environment(PYTHONPATH=str(tmp_path)), capture_output=True, timeout=60
    )

    assert done.returncode == (0 if flags == ["--help"] else 2) and not log.exists()
