"""`resserve health` as a probe runs it: a process of its own that asks a real service."""

import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import HealthServicer

from resserve.v1 import classifier_pb2 as pb
from tests.support.service_process import RESSERVE, Golden, Server, environment, wait_until

Probe = Callable[..., tuple[int, str]]
BOTH = pytest.mark.parametrize("kind", [(), ("--grpc",)], ids=["http", "grpc"])


@pytest.fixture
def probe(tmp_path: Path) -> Probe:
    """Run `resserve health` where a proxy is set that leads nowhere: the exit code, and all that was printed."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        nowhere = f"http://127.0.0.1:{free.getsockname()[1]}"
    proxies = dict.fromkeys(("http_proxy", "HTTP_PROXY", "https_proxy", "grpc_proxy", "all_proxy"), nowhere)

    def run(*flags: str, **settings: str) -> tuple[int, str]:
        env = environment(**proxies, no_proxy="", NO_PROXY="", **settings)
        command = [RESSERVE, "health", *flags]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)
        return done.returncode, done.stdout + done.stderr

    return run


def ports(server: Server) -> dict[str, str]:
    """The service's ports as settings."""
    return {name: url.rpartition(":")[2] for name, url in (("port", server.address), ("http_port", server.http))}


@BOTH
def test_ready_service(service: Server, probe: Probe, kind: tuple[str, ...]) -> None:
    """A service that is ready is found through RESSERVE_* settings, past any proxy, whichever address it listens on."""
    settings = {f"RESSERVE_{name.upper()}": value for name, value in ports(service).items()}

    for host in ("127.0.0.1", "0.0.0.0", "localhost"):
        code, said = probe(*kind, RESSERVE_HOST=host, **settings)
        assert (code, said.count("\n")) == (0, 1) and said.endswith(": ready.\n"), said
    code, said = probe("--live", *kind, **settings)
    assert code == 0 and said.endswith(": alive.\n"), said


@BOTH
def test_follows_the_file_and_the_flags(service: Server, probe: Probe, tmp_path: Path, kind: tuple[str, ...]) -> None:
    """resserve.toml in the working directory is followed as `serve` follows it, and a flag wins over it."""
    found = ports(service)
    file = tmp_path / "resserve.toml"
    file.write_text("".join(f"{name} = {value}\n" for name, value in found.items()))
    assert probe(*kind)[0] == 0

    file.write_text("port = 1\nhttp_port = 1\n")
    assert probe(*kind)[0] == 1
    assert probe(*kind, "--port", found["port"], "--http-port", found["http_port"])[0] == 0


def test_service_that_drains(serve: Callable[..., Server], repository: Path, alpha: Golden, probe: Probe) -> None:
    """While it drains a service is alive but not ready, and the sentence says so."""
    server = serve(repository, "--model", "alpha")
    flags = ["--http-port", ports(server)["http_port"]]
    (worker,) = server.workers()
    worker.suspend()
    call = server.stub.Classify.future(pb.ClassifyRequest(images=alpha.pngs[:1]), timeout=60)
    wait_until(lambda: server.metric("resserve_in_service_images") == 1, "the call is accepted")
    server.process.send_signal(signal.SIGTERM)
    wait_until(lambda: server.events("draining"), "it drains")

    ready, alive = probe(*flags), probe(*flags, "--live")
    worker.resume()

    assert ready[0] == 1 and "not ready, it is draining." in ready[1], ready
    assert alive[0] == 0, alive
    assert call.result().results
    assert server.process.wait(timeout=60) == 0


def test_grpc_health_that_is_not_serving(probe: Probe) -> None:
    """What gRPC's health service says is passed on; liveness and readiness are two of its names."""
    health = HealthServicer()
    health.set("resserve.v1.Classifier", health_pb2.HealthCheckResponse.NOT_SERVING)
    health.set("", health_pb2.HealthCheckResponse.SERVING)
    server = grpc.server(ThreadPoolExecutor(1))
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    flags = ["--grpc", "--port", str(server.add_insecure_port("127.0.0.1:0"))]
    server.start()
    try:
        code, said = probe(*flags)
        alive, _ = probe(*flags, "--live")
    finally:
        server.stop(None).wait()

    assert (code, alive) == (1, 0) and "not ready, it says NOT_SERVING." in said


@BOTH
def test_no_service(probe: Probe, kind: tuple[str, ...]) -> None:
    """Where nothing listens the sentence names the address and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    code, said = probe(*kind, "--port", port, "--http-port", port)

    assert code == 1 and f"127.0.0.1:{port}" in said and "start `resserve serve`" in said
    assert said.count("\n") == 1


@BOTH
def test_port_that_only_accepts(probe: Probe, kind: tuple[str, ...]) -> None:
    """A port that takes the connection and never answers is given up, instead of being waited for."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = str(silent.getsockname()[1])
        code, said = probe(*kind, "--port", port, "--http-port", port)

    assert (code, said.count("\n")) == (1, 1) and f"No valid answer from {'' if kind else 'http://'}127.0.0.1" in said


@BOTH
def test_free_port_is_unknown(probe: Probe, kind: tuple[str, ...]) -> None:
    """A service that takes any free port can only be asked by who names it."""
    code, said = probe(*kind, RESSERVE_PORT="0", RESSERVE_HTTP_PORT="0")

    assert code == 1 and f"Setting {'port' if kind else 'http_port'} is 0" in said and said.count("\n") == 1


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (503, b'{"models": {"a": {"state": "LOADING", "reason": ""}}}', "not ready, a is loading."),
        (503, b'{"models": {"a": {"state": "FAILED", "reason": "It drifts."}}}', "not ready, a is failed (It drifts)."),
        (503, b"Service Unavailable", "not ready, and it does not say why."),
        (404, b"", "status 404, unlike ResServe"),
    ],
    ids=["loading", "failed", "other 503", "other service"],
)
def test_says_what_is_wrong(probe: Probe, status: int, body: bytes, expected: str) -> None:
    """What keeps the service from being ready is passed on, and another program on the port is no service."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        code, said = probe("--http-port", str(server.server_port))
        thread.join()

    assert code == 1 and expected in said


def test_starts_without_what_it_does_not_need() -> None:
    """Neither torch nor ONNX Runtime, nor the server's libraries, are imported for a probe that runs all the time."""
    program = (
        "import sys; sys.argv = ['resserve', 'health']\n"
        "from resserve.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: print(sorted({'torch', 'numpy', 'onnxruntime', 'grpc', 'uvicorn'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [RESSERVE.parent / "python", "-c", program], env=environment(), capture_output=True, text=True
    )

    assert done.stdout.splitlines()[-1] == "[]"
