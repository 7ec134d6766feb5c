"""A real `resserve serve` in a process of its own, and what a test may ask of it."""

import io
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import grpc
import numpy as np
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc
from numpy.typing import NDArray
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from resserve.manifest import read_manifest
from resserve.v1 import classifier_pb2 as pb
from resserve.v1 import classifier_pb2_grpc as pb_grpc

RESSERVE = Path(sys.executable).parent / "resserve"

# Nothing is tried again behind a test's back, and no proxy comes between.
CHANNEL = (
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
)
_PATIENCE = 120.0  # seconds; the machine may be busy with other things


def wait_until(condition: Callable[[], object], what: str, seconds: float = _PATIENCE) -> None:
    """Look again and again until the condition holds; fail with `what` when it never does."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"not within {seconds:g} s: {what}"
        time.sleep(0.02)


@dataclass(frozen=True)
class Golden:
    """The golden images of a version, as files that decode to them exactly, and PyTorch's logits."""

    pngs: list[bytes]
    logits: NDArray[np.float32]
    tolerance: float


def golden(version: Path) -> Golden:
    """Read a version's golden images and wrap each in the border that the service's crop takes off again."""
    manifest = read_manifest(version)
    with np.load(version / "golden.npz") as file:
        images, logits = file["images"], file["logits"]
    pngs = [png(framed(image, manifest.input.resize)) for image in images]
    return Golden(pngs, logits, manifest.certificate.tolerance)


def framed(image: NDArray[np.uint8], resize: int) -> NDArray[np.uint8]:
    """The image inside a square of `resize` pixels, where the centre crop finds it; such a square is not resized."""
    square = np.zeros((resize, resize, 3), np.uint8)
    top, left = (round((resize - side) / 2) for side in image.shape[:2])
    square[top : top + image.shape[0], left : left + image.shape[1]] = image
    return square


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Pixels as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def command(repository: Path, folder: Path, *flags: str) -> list[str]:
    """The command line: free ports, JSON logs, unless the flags say otherwise."""
    ready = str(folder / "ready.json")
    fixed = ["--repository", str(repository), "--port", "0", "--http-port", "0", "--ready-file", ready]
    return [str(RESSERVE), "serve", *fixed, "--log-format", "json", *flags]


def environment(**settings: str) -> dict[str, str]:
    """This process's environment without its own RESSERVE_* settings, with those given."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("RESSERVE_")}
    return {**own, **settings}


def refuse(repository: Path, folder: Path, *flags: str, **settings: str) -> tuple[int, str]:
    """Run `resserve serve` where it is expected to end by itself: its exit code and what it wrote to stderr."""
    done = subprocess.run(
        command(repository, folder, *flags),
        cwd=folder,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
    )
    return done.returncode, done.stderr


class Server:
    """One running service. `stop` it; whatever of it is left is killed by `close`."""

    def __init__(self, repository: Path, folder: Path, *flags: str, under: Sequence[str] = (), **settings: str) -> None:
        """`under` is a command that runs the service's, such as env(1)."""
        self.folder = folder
        self._stderr = (folder / "log").open("wb")
        self._stdout = (folder / "out").open("wb")
        ready = folder / "ready.json"
        ready.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [*under, *command(repository, folder, *flags)],
            cwd=folder,  # where no resserve.toml is, unless the test wrote one
            env=environment(**settings),
            stdin=subprocess.DEVNULL,
            stdout=self._stdout,
            stderr=self._stderr,
            start_new_session=True,
        )
        try:
            wait_until(lambda: ready.exists() or self.process.poll() is not None, "the service is ready")
            assert ready.exists(), self.text
        except BaseException:
            self.close()
            raise
        found = json.loads(ready.read_text())
        self.address: str = found["grpc"]
        self.http: str = found["http"]

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def text(self) -> str:
        """Everything it logged."""
        return (self.folder / "log").read_text(errors="replace")

    def events(self, event: str) -> list[dict[str, object]]:
        """The log's entries of this name."""
        lines = (json.loads(line) for line in self.text.splitlines() if line.startswith("{"))
        return [line for line in lines if line["event"] == event]

    # Processes.

    def everyone(self) -> list[psutil.Process]:
        """Every living process of this service's session, wherever it hangs in the tree."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if os.getsid(process.pid) == self.process.pid and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def workers(self, model: str = "") -> list[psutil.Process]:
        """The worker processes; of one model when named. A process that was just started has no model yet."""
        return (
            self._titled(f"resserve worker {model}@")
            if model
            else self._titled("resserve worker ", "-m service.worker")
        )

    def frontends(self) -> list[psutil.Process]:
        """The frontends that are processes of their own, once they know their settings."""
        return self._titled("resserve frontend ")

    def _titled(self, *titles: str) -> list[psutil.Process]:
        return [p for p in self.everyone() if any(title in " ".join(_quiet(p.cmdline, [])) for title in titles)]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end: the exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=_PATIENCE)

    def close(self) -> list[int]:
        """End what is still there; the pids that outlived the main process by more than a moment."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        until = time.monotonic() + 10
        while (left := self.everyone()) and time.monotonic() < until:
            time.sleep(0.02)
        for process in left:
            process.kill()
        if "_channel" in self.__dict__:
            self._channel.close()
        self._stderr.close()
        self._stdout.close()
        return [process.pid for process in left]

    # gRPC.

    @cached_property
    def _channel(self) -> grpc.Channel:
        return grpc.insecure_channel(self.address, CHANNEL)

    @cached_property
    def stub(self) -> pb_grpc.ClassifierStub:
        return pb_grpc.ClassifierStub(self._channel)

    def classify(self, *images: bytes, timeout: float = 60.0, **fields: object) -> pb.ClassifyResponse:
        """One call."""
        return self.stub.Classify(pb.ClassifyRequest(images=images, **fields), timeout=timeout)

    def stream(self, requests: Sequence[pb.ClassifyRequest]) -> dict[str, pb.ClassifyResponse]:
        """The answers of one stream by id."""
        return {response.id: response for response in self.stub.ClassifyStream(iter(requests), timeout=60)}

    def health(self, service: str) -> str:
        """SERVING, NOT_SERVING, or the code of the refusal."""
        try:
            request = health_pb2.HealthCheckRequest(service=service)
            answer = health_pb2_grpc.HealthStub(self._channel).Check(request, timeout=30)
        except grpc.RpcError as error:
            return error.code().name
        return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)

    def watch(self, service: str) -> Iterator[str]:
        """Each status of a service, as it changes."""
        request = health_pb2.HealthCheckRequest(service=service)
        for answer in health_pb2_grpc.HealthStub(self._channel).Watch(request, timeout=_PATIENCE):
            yield health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)

    @property
    def channel(self) -> grpc.Channel:
        return self._channel

    # HTTP.

    def get(self, path: str) -> tuple[int, str]:
        """Status and body."""
        try:
            with urllib.request.urlopen(f"{self.http}{path}", timeout=30) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def samples(self, name: str = "", **labels: str) -> list[tuple[str, dict[str, str], float]]:
        """Samples of /metrics with this name and these labels."""
        families = text_string_to_metric_families(self.get("/metrics")[1])
        return [
            (sample.name, sample.labels, sample.value)
            for family in families
            for sample in family.samples
            if name in ("", sample.name) and labels.items() <= sample.labels.items()
        ]

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples with this name and these labels."""
        return sum(value for _, _, value in self.samples(name, **labels))


def _quiet(call: Callable[[], list[str]], default: list[str]) -> list[str]:
    try:
        return call()
    except psutil.Error:
        return default


def code_of(call: Callable[[], object]) -> tuple[str, str]:
    """The status code and the sentence of a call that must fail."""
    try:
        call()
    except grpc.RpcError as error:
        return error.code().name, error.details() or ""
    raise AssertionError("the call did not fail")


def ended(server: Server, count: int) -> Callable[[], bool]:
    """Whether that many workers have ended."""
    return lambda: len(server.events("worker ended")) >= count


def restored(server: Server, count: int) -> None:
    """Wait until that many workers have ended, and the last was replaced."""
    wait_until(ended(server, count), "the worker's end is noticed")
    wait_until(lambda: server.get("/readyz")[0] == 200, "a new worker is ready")
