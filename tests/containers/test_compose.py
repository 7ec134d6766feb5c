"""The compose file's CPU service and Prometheus, run as they are."""

import json
import os
import signal
import urllib.parse
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from resserve.client import Client
from tests.containers.conftest import Stack
from tests.support.digits import digit, held_out
from tests.support.podman import Podman
from tests.support.service_process import wait_until

pytestmark = pytest.mark.containers
SERVICE = "resserve-cpu"
LIMITS = {"SERVICE_MEMORY": "1g", "SERVICE_CPUS": "0.5"}


@pytest.fixture(scope="module")
def service(stack: Stack) -> Iterator[str]:
    """The service's container, healthy, with less memory and processors than the machine has."""
    yield stack.up(SERVICE, **LIMITS)


@pytest.fixture
def seven(tmp_path: Path) -> Path:
    digit(held_out(7)).save(tmp_path / "seven.png")
    return tmp_path / "seven.png"


def test_classifies(service: str, seven: Path) -> None:
    """A picture sent to the published port is recognised."""
    with Client("127.0.0.1:8001") as client:
        assert client.classify(seven).labels[0].name == "digit 7"


def test_process_has_no_privileges(podman: Podman, service: str) -> None:
    """The kernel has the service as user 10001 without any capability, and it can gain none."""
    status = podman.run("exec", service, "cat", "/proc/1/status")
    fields = dict(line.split(":\t") for line in status.splitlines())

    assert (fields["Uid"].split(), fields["NoNewPrivs"]) == (["10001"] * 4, "1")
    assert {int(fields[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}


@pytest.mark.parametrize("place", ["/", "/tmp", "/run", "/var/tmp", "/opt/resserve", "/weights/digits"])
def test_nothing_can_be_written(podman: Podman, service: str, place: str) -> None:
    """The root, the program and the repository are read-only, whoever the user is, and there is no place for files."""
    code, said = podman.try_("exec", "--user", "0", service, "touch", f"{place}/file")

    assert code != 0 and "Read-only file system" in said


def test_limits_hold(podman: Podman, service: str) -> None:
    """The limits of .env, of memory and processors, are the container's."""
    has = podman.inspect(service)["HostConfig"]
    (statistics,) = json.loads(podman.run("stats", "--no-stream", "--format", "json", service))

    assert (has["Memory"], has["NanoCpus"], has["PidsLimit"]) == (2**30, 500_000_000, 2048)
    assert statistics["mem_usage"].endswith("/ 1.074GB")


def test_ports_are_this_machines_own(podman: Podman, service: str) -> None:
    """Both ports are published, and on 127.0.0.1 alone."""
    published = podman.run("port", service).split("\n")

    assert sorted(filter(None, published)) == ["8001/tcp -> 127.0.0.1:8001", "8002/tcp -> 127.0.0.1:8002"]


def test_prometheus_scrapes_it(podman: Podman, stack: Stack, service: str, seven: Path) -> None:
    """Prometheus finds the service by its name, counts what it classified, and accepts every rule."""
    stack.up("prometheus")
    with Client("127.0.0.1:8001") as client:
        client.classify(seven)

    wait_until(lambda: _values('up{job="resserve"}') == [1.0], "the service is scraped")
    wait_until(lambda: _values('resserve_images_total{model="digits"}') > [0.0], "the picture is counted")
    groups = _ask("rules")["groups"]
    assert groups and {rule["lastError"] for group in groups for rule in group["rules"] if "lastError" in rule} == set()


def _ask(path: str, **parameters: str) -> Any:
    query = urllib.parse.urlencode(parameters)
    with urllib.request.urlopen(f"http://127.0.0.1:9090/api/v1/{path}?{query}", timeout=30) as response:
        return json.load(response)["data"]


def _values(query: str) -> list[float]:
    return [float(sample["value"][1]) for sample in _ask("query", query=query)["result"]]


def test_comes_back(podman: Podman, stack: Stack, service: str) -> None:
    """A service whose main process is killed is started again."""
    os.kill(podman.inspect(service)["State"]["Pid"], signal.SIGKILL)
    wait_until(lambda: podman.inspect(service)["RestartCount"] == 1, "the engine has seen it")

    assert stack.up(SERVICE, **LIMITS) == service


def test_stops_politely(podman: Podman, stack: Stack, service: str, seven: Path) -> None:
    """`stop` lets a call that is being answered end, the exit code is 0, and `up` starts the service again."""
    worker = _worker(podman, service)
    with Client("127.0.0.1:8001") as client, ThreadPoolExecutor() as threads:
        os.kill(worker, signal.SIGSTOP)
        call = threads.submit(client.classify, seven)
        wait_until(lambda: _metric("resserve_in_service_images") == 1.0, "the call is accepted")
        stop = threads.submit(stack.compose, "stop", SERVICE)
        wait_until(lambda: '"draining"' in stack.logs(SERVICE), "the service drains")
        with suppress(ProcessLookupError):  # the service has replaced it where this took long
            os.kill(worker, signal.SIGCONT)
        assert call.result().labels[0].name == "digit 7"
        stop.result()
    state = podman.inspect(service)["State"]

    assert (state["Status"], state["ExitCode"], state["OOMKilled"]) == ("exited", 0, False)
    assert json.loads(stack.logs(SERVICE).splitlines()[-1])["event"] == "stopped"
    assert stack.up(SERVICE, **LIMITS) == service


def _worker(podman: Podman, container: str) -> int:
    """The pid of the container's worker, as this machine counts."""
    processes = podman.run("top", container, "hpid", "args").splitlines()
    (worker,) = (line.split()[0] for line in processes if "resserve worker" in line)
    return int(worker)


def _metric(name: str) -> float:
    with urllib.request.urlopen("http://127.0.0.1:8002/metrics", timeout=30) as response:
        lines = response.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name}{{"))
