"""The ports as clients meet them: IPv6 beside IPv4, large metadata, keepalive, connections that age."""

import socket
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue
from threading import Event

import grpc
import pytest

from resserve import Client
from resserve.v1 import classifier_pb2 as pb
from resserve.v1 import classifier_pb2_grpc as pb_grpc
from tests.support.frames import GOAWAY, PING, Relay
from tests.support.service_process import CHANNEL, RESSERVE, Golden, Server, environment, refuse

READY = grpc.ChannelConnectivity.READY
TOKEN = "x" * 16 * 1024
INJECTED = {
    "RESSERVE_SERVICE_HOST": "10.96.12.7",
    "RESSERVE_PORT_8001_TCP": "tcp://10.96.12.7:8001",
    "RESSERVE_PORT": "tcp://10.96.12.7:8001",
}


@pytest.fixture(scope="module")
def dual(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service of two frontends on all addresses of both kinds, in a pod beside a Service of its name."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        pytest.skip(f"this machine has no IPv6: {error}")
    folder = tmp_path_factory.mktemp("dual")
    server = Server(repository, folder, "--model", "alpha", "--host", "[::]", "--frontends", "2", **INJECTED)
    yield server
    assert server.close() == []


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_both_ports_answer_ipv4_and_ipv6(dual: Server, alpha: Golden, host: str) -> None:
    """`--host [::]` takes calls and pages on either kind of address."""
    grpc_port, http_port = (address.rpartition(":")[2] for address in (dual.address, dual.http))
    with Client(f"{host}:{grpc_port}") as client:
        assert client.classify(alpha.pngs[0]).labels
    with urllib.request.urlopen(f"http://{host}:{http_port}/readyz", timeout=30) as response:
        assert response.status == 200


def test_printed_addresses_can_be_used(dual: Server, tmp_path: Path) -> None:
    """The ready file, the log and stdout have addresses that clients take, with brackets; the verbs do."""
    port, http_port = (address.rpartition(":")[2] for address in (dual.address, dual.http))
    assert (dual.address, dual.http) == (f"[::1]:{port}", f"http://[::1]:{http_port}")
    (event,) = dual.events("serving")
    assert (event["host"], event["grpc"], event["http"]) == ("::", dual.address, dual.http)
    classify, page = (dual.folder / "out").read_text().splitlines()
    assert classify.endswith(f"--target {dual.address}") and page.endswith(f" {dual.http}/")

    commands = [
        ["models", "--json", "--target", dual.address],
        ["health", "--host", "[::]", "--http-port", http_port],
        ["health", "--host", "::1", "--http-port", http_port],
    ]
    for command in commands:
        done = subprocess.run([RESSERVE, *command], cwd=tmp_path, env=environment(), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_injected_variables_are_logged_once(dual: Server) -> None:
    """One line of the log names what was passed over."""
    (event,) = dual.events("environment ignored")

    assert event["variables"] == sorted(INJECTED) and "Kubernetes" in str(event["reason"])


def test_a_socket_file_is_not_offered(repository: Path, tmp_path: Path) -> None:
    """`--host unix:/path` ends with a sentence before anything is loaded."""
    code, said = refuse(repository, tmp_path, "--host", "unix:/run/resserve.sock")

    assert code == 1 and said.count("\n") == 1 and "Unix sockets are not offered" in said


def test_metadata_of_16_kb(service: Server) -> None:
    """A large token is taken on both ports, every time: gRPC refuses some of what is over its limit, not all."""
    metadata = (("authorization", TOKEN),)
    for _ in range(20):
        assert service.stub.ListModels(pb.ListModelsRequest(), metadata=metadata, timeout=30).models
    request = urllib.request.Request(f"{service.http}/livez", headers={"Authorization": TOKEN})
    with urllib.request.urlopen(request, timeout=30) as response:
        assert response.status == 200


def test_connections_age(serve: Callable[..., Server], repository: Path, alpha: Golden) -> None:
    """A connection is closed when it is old, not before its calls end, and those at the latest after the grace."""
    ages = {"RESSERVE_MAX_CONNECTION_AGE": "1", "RESSERVE_MAX_CONNECTION_AGE_GRACE": "2"}
    server = serve(repository, "--model", "alpha", "--host", "0.0.0.0", **ages)
    assert server.address.startswith("127.0.0.1:")
    requests: SimpleQueue[pb.ClassifyRequest | None] = SimpleQueue()
    requests.put(pb.ClassifyRequest(images=[alpha.pngs[0]]))
    old = Event()
    with grpc.insecure_channel(server.address, CHANNEL) as channel:
        stub = pb_grpc.ClassifierStub(channel)
        answers = stub.ClassifyStream(iter(requests.get, None), timeout=60)
        assert next(answers).results
        channel.subscribe(lambda state: old.set() if state is grpc.ChannelConnectivity.IDLE else None)
        assert old.wait(60), "the connection is closed to new calls"
        requests.put(pb.ClassifyRequest(images=[alpha.pngs[0]]))
        assert next(answers).results, "the call under way goes on"
        assert stub.Classify(pb.ClassifyRequest(images=[alpha.pngs[0]]), timeout=60).results, "a new connection"
        with pytest.raises(grpc.RpcError) as cut:
            next(answers)
        requests.put(None)

    assert cut.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.slow
def test_pings_every_ten_seconds(service: Server, alpha: Golden) -> None:
    """A channel that pings as often as is allowed stays connected for 10 pings, with a call and without one."""
    options = (
        *CHANNEL,
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    )
    requests: SimpleQueue[pb.ClassifyRequest | None] = SimpleQueue()
    requests.put(pb.ClassifyRequest(model="alpha", images=[alpha.pngs[0]]))
    with ExitStack() as stack:
        relays = [stack.enter_context(Relay(service.address)) for _ in range(2)]
        idle, busy = (stack.enter_context(grpc.insecure_channel(relay.address, options)) for relay in relays)
        assert pb_grpc.ClassifierStub(idle).ListModels(pb.ListModelsRequest(), timeout=60).models
        answers = pb_grpc.ClassifierStub(busy).ClassifyStream(iter(requests.get, None))
        assert next(answers).results
        states: list[grpc.ChannelConnectivity] = []
        idle.subscribe(states.append)
        for relay in relays:
            relay.wait_for_pings(10)

        assert [relay.received[GOAWAY] for relay in relays] == [0, 0]
        assert min(relay.sent[PING] for relay in relays) >= 10
        requests.put(pb.ClassifyRequest(model="alpha", images=[alpha.pngs[0]]))
        assert next(answers).results and set(states) == {READY}
        requests.put(None)
        assert not list(answers)
