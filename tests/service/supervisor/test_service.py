"""How a service starts, what it is made of, and how it ends."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

import grpc
import numpy as np
import pytest

from resserve.errors import ResServeError
from resserve.v1 import classifier_pb2 as pb
from service.settings import load_settings
from tests.support.service_process import Golden, Server, refuse, wait_until


@pytest.mark.parametrize("flag", ["--port", "--http-port"])
def test_a_busy_port_is_named(repository: Path, tmp_path: Path, flag: str) -> None:
    """A second service on a port says which is taken and what to do, and ends with exit code 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, said = refuse(repository, tmp_path, flag, port)

    assert code == 1 and f"Port {port} on 127.0.0.1" in said and flag in said
    assert "Traceback" not in said and not (tmp_path / "ready.json").exists()


def test_cuda_that_is_not_there_is_refused(repository: Path, tmp_path: Path) -> None:
    """`--device cuda` without it ends with the reason, and does not fall back."""
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this machine may have CUDA")
    code, said = refuse(repository, tmp_path, "--device", "cuda")

    assert code == 1 and "CUDA was asked for" in said and "resserve[gpu]" in said and "Traceback" not in said


def test_no_process_of_the_service_has_torch(service: Server) -> None:
    """Neither the frontend nor a worker has mapped a library of torch; no memory of theirs has a name in /dev/shm."""
    processes = service.everyone()
    assert len(processes) >= 3
    for process in processes:
        mapped = {line.split()[-1] for line in Path(f"/proc/{process.pid}/maps").read_text().splitlines()}
        assert not [path for path in mapped if "torch" in path]
        assert not [path for path in mapped if path.startswith("/dev/shm/")]
        named = [str(fd.readlink()) for fd in Path(f"/proc/{process.pid}/fd").iterdir() if fd.is_symlink()]
        assert not [path for path in named if path.startswith("/dev/shm/")]


def test_workers_ask_for_huge_pages(service: Server) -> None:
    """Where the system gives them to those who ask; the frontend, which has small memory in use, does not."""
    enabled = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not enabled.exists() or "[madvise]" not in enabled.read_text():
        pytest.skip("this system does not leave huge pages to those who ask")

    def asks(pid: int) -> bool:
        flags = re.findall(r"^VmFlags:(.*)$", Path(f"/proc/{pid}/smaps").read_text(), re.MULTILINE)
        return any("hg" in line.split() for line in flags)

    assert all(asks(worker.pid) for worker in service.workers()) and not asks(service.pid)


def test_everything_served_with_imports_without_torch() -> None:
    """`import resserve, service` and all of the service's modules work where no torch, onnx or scikit-learn is."""
    program = """
        import importlib, pkgutil, sys

        class Absent:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in {"torch", "torchvision", "onnx", "onnxscript", "sklearn", "matplotlib"}:
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        sys.meta_path.insert(0, Absent())
        import resserve, service
        for package in (resserve, service):
            for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
                if module.name not in ("service.worker.__main__", "service.frontend.__main__"):  # these are programs
                    importlib.import_module(module.name)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=120)

    assert (done.returncode, done.stderr) == (0, "")


def test_settings_by_precedence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flag, else environment, else resserve.toml, else default; what is not allowed is named."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("RESSERVE_")]:
        monkeypatch.delenv(name)
    found = [load_settings().port]
    Path("resserve.toml").write_text('port = 1001\nmodel = ["a", "b@2"]\nrepository = "elsewhere"\n')
    found.append(load_settings().port)
    monkeypatch.setenv("RESSERVE_PORT", "1002")
    found.append(load_settings().port)
    found.append(load_settings(port=1003, host=None).port)

    assert found == [8001, 1001, 1002, 1003]
    assert load_settings().model == ["a", "b@2"] and load_settings().repository == Path("elsewhere")
    for name, value in (("port", "70000"), ("device", "tpu"), ("wait_share", "2")):
        monkeypatch.setenv(f"RESSERVE_{name.upper()}", value)
        with pytest.raises(ResServeError, match=name):
            load_settings()
        monkeypatch.delenv(f"RESSERVE_{name.upper()}")
    Path("resserve.toml").write_text("porrt = 1\n")
    with pytest.raises(ResServeError, match="porrt"):
        load_settings()
    Path("resserve.toml").write_text("port = = 1\n")
    with pytest.raises(ResServeError, match=r"resserve\.toml"):
        load_settings()


@pytest.mark.parametrize(
    ("device", "installed", "cores", "expected"),
    [
        ("auto", "onnxruntime", 64, 1),
        ("cpu", "onnxruntime-gpu", 64, 1),
        ("auto", "onnxruntime-gpu", 2, 1),
        ("cuda", "onnxruntime-gpu", 16, 4),
        ("auto", "onnxruntime-gpu", 64, 8),
    ],
)
def test_frontends_by_device_and_cores(monkeypatch, device: str, installed: str, cores: int, expected: int) -> None:
    """`--frontends auto` counts them; a number is taken as it is, and anything else is refused."""
    monkeypatch.setattr("service.settings.check_onnxruntime", lambda: installed)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))

    assert load_settings(device=device, frontends="auto").frontends == expected
    assert load_settings(device=device, frontends="3").frontends == 3
    for wrong in ("0", "many"):
        with pytest.raises(ResServeError, match="frontends"):
            load_settings(device=device, frontends=wrong)


def test_a_wrong_command_line_leaves_no_process(repository: Path, tmp_path: Path) -> None:
    """The worker that is started while the command line is read goes with it, and says nothing."""
    code, said = refuse(repository, tmp_path, "--prot", "1")

    assert code == 2 and "No such option" in said and "Traceback" not in said


def test_a_running_service_obeys_the_same_precedence(repository: Path, tmp_path: Path) -> None:
    """The process itself: what the flag says, not the environment, and not the file."""
    (tmp_path / "resserve.toml").write_text('model = ["beta"]\nlanes = 1\nmax_batch = 2\n')
    server = Server(repository, tmp_path, "--model", "alpha", RESSERVE_MAX_BATCH="3")
    try:
        (status,) = server.stub.ListModels(pb.ListModelsRequest()).models
        assert status.model.name == "alpha"
        assert "1 lanes" in status.plan and "up to 3" in status.plan
    finally:
        assert server.close() == []


@pytest.fixture
def slow(serve, repository) -> Server:
    """A service of one lane, whose work takes a moment to do."""
    return serve(repository, "--model", "alpha", RESSERVE_LANES="1", RESSERVE_MAX_BATCH="1")


def flood(server: Server, golden: Golden, count: int) -> list[grpc.Future]:
    """Calls under way, each with many images, more than a moment's work."""
    request = pb.ClassifyRequest(images=golden.pngs * 8, logits=True)
    return [server.stub.Classify.future(request, timeout=120) for _ in range(count)]


def accepted(server: Server) -> float:
    """Images that are answered, in work, or waiting."""
    names = ("resserve_images_total", "resserve_in_service_images", "resserve_queue_images")
    return sum(value for name, _, value in server.samples() if name in names)


def test_sigterm_answers_what_was_accepted(slow: Server, alpha: Golden) -> None:
    """NOT_SERVING at once and no new call, every accepted one answered rightly, exit code 0, nothing left."""
    calls = flood(slow, alpha, 12)
    wait_until(lambda: accepted(slow) >= 12 * 64, "all calls are accepted")
    watching = slow.watch("resserve.v1.Classifier")
    assert next(watching) == "SERVING"
    slow.process.send_signal(signal.SIGTERM)
    assert next(watching) == "NOT_SERVING"
    watching.close()

    for call in calls:
        logits = np.array([result.logits for result in call.result().results])
        assert np.abs(logits - np.tile(alpha.logits, (8, 1))).max() <= alpha.tolerance
    assert slow.process.wait(timeout=60) == 0
    assert slow.everyone() == [] and slow.events("stopped")


def test_sigterm_does_not_wait_for_who_only_watches(slow: Server, alpha: Golden) -> None:
    """A health watch, a connection and a stream with nothing to answer do not hold up the end."""
    requests: SimpleQueue[pb.ClassifyRequest | None] = SimpleQueue()
    requests.put(pb.ClassifyRequest(images=[alpha.pngs[0]]))
    answers = slow.stub.ClassifyStream(iter(requests.get, None))
    watching = slow.watch("")
    assert next(answers).results and next(watching) == "SERVING"
    begun = time.monotonic()
    assert slow.stop() == 0
    assert time.monotonic() - begun < 15  # of the 20 s that a drain may take
    requests.put(None)


def test_a_second_sigterm_forces(slow: Server, alpha: Golden) -> None:
    """It ends at once, with another exit code, and takes its workers along."""
    _calls = flood(slow, alpha, 40)  # kept, or they would be cancelled
    wait_until(lambda: slow.metric("resserve_images_total") >= 10, "work is under way")
    slow.process.send_signal(signal.SIGTERM)
    wait_until(lambda: slow.events("draining"), "it drains")
    slow.process.send_signal(signal.SIGTERM)

    assert slow.process.wait(timeout=10) not in (0, None)
    wait_until(lambda: not slow.everyone(), "every process has ended", 10)


def test_sigint_is_a_sigterm(serve, repository) -> None:
    """Ctrl-C stops as politely."""
    assert serve(repository, "--model", "alpha").stop(signal.SIGINT) == 0


def test_sigterm_while_loading(repository: Path, tmp_path: Path) -> None:
    """A service that is told to stop before it was ready stops."""
    from tests.support.service_process import command, environment

    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            command(repository, tmp_path), cwd=tmp_path, env=environment(), stderr=log, stdout=log
        )
        time.sleep(0.7)
        process.send_signal(signal.SIGTERM)

        assert process.wait(timeout=60) in (0, -signal.SIGTERM)  # the latter before Python has taken the signal over


def test_a_worker_that_dies_while_draining_is_replaced(slow: Server, alpha: Golden) -> None:
    """What was accepted is answered all the same."""
    calls = flood(slow, alpha, 12)
    wait_until(lambda: accepted(slow) >= 12 * 64, "all calls are accepted")
    (worker,) = slow.workers()
    slow.process.send_signal(signal.SIGTERM)
    wait_until(lambda: slow.events("draining"), "it drains")
    worker.kill()

    for call in calls:
        logits = np.array([result.logits for result in call.result().results])
        assert np.abs(logits - np.tile(alpha.logits, (8, 1))).max() <= alpha.tolerance
    assert slow.process.wait(timeout=60) == 0
    assert [event["reason"] for event in slow.events("worker ended")] == ["crash"]


def test_a_killed_frontend_takes_its_workers_along(slow: Server, alpha: Golden) -> None:
    """SIGKILL of the main process, in the middle of work, leaves no process behind."""
    _calls = flood(slow, alpha, 12)  # kept, or they would be cancelled
    wait_until(lambda: slow.metric("resserve_images_total") >= 10, "work is under way")
    slow.process.kill()

    wait_until(lambda: not slow.everyone(), "every process has ended", 10)


def test_an_idle_service_stays_as_it_is(service: Server) -> None:
    """Seconds of idleness restart nothing and use next to no time."""

    def cpu() -> float:
        return sum(sum(process.cpu_times()[:2]) for process in service.everyone())

    workers, used = {process.pid for process in service.workers()}, cpu()
    time.sleep(4)

    assert {process.pid for process in service.workers()} == workers
    assert cpu() - used < 0.2


def test_the_log_is_json_lines(service: Server) -> None:
    """Every line off a terminal is an object with an event, a level and a time."""
    lines = [json.loads(line) for line in service.text.splitlines()]

    assert {"model ready", "serving"} <= {line["event"] for line in lines}
    assert all({"event", "level", "timestamp"} <= set(line) for line in lines)


def test_it_says_how_to_ask(service: Server) -> None:
    """Off the log, on stdout: a command that classifies, with the port it is on, and the page's address."""
    command, page = (service.folder / "out").read_text().splitlines()

    assert command.endswith(f"resserve classify PICTURE --model alpha --target {service.address}")
    assert page.endswith(f"{service.http}/")


def test_many_connections_at_once(service: Server, alpha: Golden) -> None:
    """A hundred clients, each with a connection of its own, are all answered."""
    from resserve.v1 import classifier_pb2_grpc as pb_grpc
    from tests.support.service_process import CHANNEL

    def one(number: int) -> bool:
        with grpc.insecure_channel(service.address, CHANNEL) as channel:
            request = pb.ClassifyRequest(model="alpha", images=[alpha.pngs[number % 8]], logits=True)
            (result,) = pb_grpc.ClassifierStub(channel).Classify(request, timeout=60).results
        return bool(np.abs(np.array(result.logits) - alpha.logits[number % 8]).max() <= alpha.tolerance)

    with ThreadPoolExecutor(25) as callers:
        assert all(callers.map(one, range(100)))


def test_leaving_service_answers_until_it_drains(serve: Callable[..., Server], repository: Path, alpha: Golden) -> None:
    """During the shutdown delay readiness is off, for balancers to see, and calls are still answered."""
    server = serve(repository, "--model", "alpha", "--shutdown-delay", "4")
    server.process.send_signal(signal.SIGTERM)
    wait_until(lambda: server.get("/readyz")[0] == 503, "HTTP is not ready")
    for name in ("alpha", "resserve.v1.Classifier"):
        wait_until(lambda name=name: server.health(name) == "NOT_SERVING", "gRPC is not ready")
    assert server.health("") == "SERVING" and server.get("/livez")[0] == 200
    assert server.classify(alpha.pngs[0], model="alpha").results

    assert server.process.wait(60) == 0 and server.events("leaving") and server.events("stopped")


def test_sighup_drains(serve: Callable[..., Server], repository: Path) -> None:
    """A terminal that is closed ends the service as SIGTERM does."""
    server = serve(repository, "--model", "alpha")

    assert server.stop(signal.SIGHUP) == 0 and server.events("stopped")


def test_ignored_hang_up_stays_ignored(serve: Callable[..., Server], repository: Path, alpha: Golden) -> None:
    """Under nohup(1) a closed terminal ends nothing."""
    server = serve(repository, "--model", "alpha", under=("sh", "-c", "trap '' HUP; exec \"$@\"", "sh"))
    server.process.send_signal(signal.SIGHUP)

    assert server.classify(alpha.pngs[0]).results and server.stop() == 0


def test_ready_file_that_cannot_be_written_is_named(repository: Path, tmp_path: Path) -> None:
    """In one sentence, and the service ends."""
    code, said = refuse(repository, tmp_path, "--model", "alpha", "--ready-file", str(tmp_path / "no" / "ready.json"))

    assert code == 1 and "ready.json cannot be written" in said and "Traceback" not in said
