"""The load generator against a real gRPC server in another process."""

import os
import signal
import threading
import time

import grpc
import numpy as np
import psutil
import pytest

from bench.load.driver import Plan, Target, drive
from bench.load.images import padded_jpeg
from bench.run.self_check import check, read_histogram
from resserve.errors import ResServeError
from resserve.v1 import classifier_pb2 as pb
from resserve.v1 import classifier_pb2_grpc

IMAGES = [padded_jpeg(32, 20_000)]


def target(server) -> Target:
    return Target(address=server.address, images=IMAGES, model="stub")


def test_closed_loop_keeps_every_caller_waiting(stub) -> None:
    """A server of one lane and 10 ms: four callers see four times its delay, and its rate, not theirs."""
    (result,) = drive(target(stub(delay=0.01, lanes=1)), [Plan(seconds=1.3, warmup=0.3, concurrency=4)])
    records = result.records
    turns = np.sort(records["due"])
    overlap = [np.sum((records["due"] <= t) & (records["done"] > t)) for t in turns[10:-10]]

    assert max(overlap) == 4 and np.median(overlap) == 4
    assert result.throughput * np.mean(result.latencies) == pytest.approx(4, rel=0.1)  # Little's law
    assert result.errors == {} and result.goodput == result.throughput


def test_request_limit_is_exact(stub) -> None:
    """With a limit, the processes together send that many requests and no more."""
    (result,) = drive(target(stub()), [Plan(seconds=30, concurrency=6, limit=101, processes=2)])

    assert len(result.records) == 101


def test_open_loop_offers_its_rate_whatever_comes_back(stub) -> None:
    """Twice what the server can do is offered all the same, and the waiting that follows is in the latencies."""
    plan = Plan(seconds=1, rate=100, arrivals="constant")
    (result,) = drive(target(stub(delay=0.02, lanes=1)), [plan])
    by_due = np.sort(result.records, order="due")
    latencies = by_due["done"] - by_due["due"]

    assert len(by_due) == 100
    assert np.allclose(by_due["due"], np.arange(100) / 100)
    # 100 requests of 20 ms each take 2 s or more: the last waits about 1 s longer than the first.
    assert latencies[-10:].mean() > latencies[:10].mean() + 0.7


def test_a_stalled_generator_cannot_hide_waiting(stub) -> None:
    """Requests that were due while the generator was stopped are sent late, and their latency counts the delay."""
    server = stub()
    pause = 0.5

    def stall() -> None:
        generator = next(
            child
            for child in psutil.Process().children()
            if child.pid != server.process.pid and "spawn_main" in " ".join(child.cmdline())
        )
        generator.send_signal(signal.SIGSTOP)
        time.sleep(pause)
        generator.send_signal(signal.SIGCONT)

    stalled = threading.Event()

    def on_progress(_: object) -> None:
        if not stalled.is_set():
            stalled.set()
            threading.Thread(target=stall).start()

    (result,) = drive(target(server), [Plan(seconds=2, rate=200, arrivals="constant")], on_progress)

    assert stalled.is_set() and len(result.records) == 400
    assert np.count_nonzero(result.latencies > pause / 2) >= 200 * pause / 2 * 0.9
    assert any("too little CPU" in warning for warning in result.warnings)


def test_a_stalled_server_is_seen_by_every_request_due_meanwhile(stub) -> None:
    """A server stopped for half a second costs an open loop all that was due, not one request a caller."""
    server = stub()
    resume = threading.Timer(0.5, os.kill, (server.process.pid, signal.SIGCONT))

    def on_progress(_: object) -> None:
        if resume.ident is None:
            server.process.send_signal(signal.SIGSTOP)
            resume.start()

    (result,) = drive(target(server), [Plan(seconds=1.5, rate=100, arrivals="constant")], on_progress)

    assert np.count_nonzero(result.latencies > 0.25) >= 20


def test_figures_agree_with_the_servers_own_histogram(stub) -> None:
    """Every answer is counted on both sides, and each quantile lies in the server's bucket for it."""
    server = stub(delay=0.02, lanes=3)
    before = read_histogram(server.metrics, "stub")
    (result,) = drive(target(server), [Plan(seconds=1.5, warmup=0.3, rate=80)])
    found = check(result.records, read_histogram(server.metrics, "stub") - before)

    assert found.agrees and found.server_answers == len(result.records) > 100


def test_a_lying_clock_is_found_out(stub) -> None:
    """Latencies that are not the server's do not pass the check, and neither does a lost answer."""
    server = stub(delay=0.02)
    before = read_histogram(server.metrics)
    (result,) = drive(target(server), [Plan(seconds=1, concurrency=2)])
    histogram = read_histogram(server.metrics) - before
    faster = result.records.copy()
    faster["done"] = faster["sent"] + (faster["done"] - faster["sent"]) / 3

    assert check(result.records, histogram).agrees
    assert not check(faster, histogram).agrees
    assert not check(result.records[1:], histogram).agrees


def test_errors_are_told_by_code_and_count_against_goodput(stub) -> None:
    """Refused calls, images that were not classified, and deadlines that passed each have their own line."""
    server = stub(delay=0.05, refuse_every=5, bad_every=7)
    (result,) = drive(target(server), [Plan(seconds=1, rate=70, arrivals="constant")])
    (late,) = drive(target(server), [Plan(seconds=1, rate=50, deadlines=(0.01, 0.01))])

    assert result.errors == {"RESOURCE_EXHAUSTED": 14, "INVALID_ARGUMENT": 8}
    assert result.in_time == len(result.latencies) == 70 - 14 - 8
    assert late.errors["DEADLINE_EXCEEDED"] > 30 and late.in_time == 0 and late.latency(0.5) is None
    assert "No request was answered" in " ".join(late.warnings)


def test_mixed_deadlines_are_drawn_between_the_two(stub) -> None:
    """Each request brings its own deadline, spread over the whole range."""
    (result,) = drive(target(stub()), [Plan(seconds=1, rate=300, deadlines=(0.3, 3.0))])
    deadlines = result.records["deadline"]

    assert deadlines.min() >= 0.3 and deadlines.max() <= 3.0
    assert np.mean(deadlines) == pytest.approx(1.65, abs=0.2)


def test_every_channel_is_a_connection(stub) -> None:
    """Two processes of three channels are six connections; quiet ones are open beside them without a request."""
    server = stub()
    during: list[int] = []

    def count(_: object) -> None:
        connections = psutil.Process(server.process.pid).net_connections("tcp")
        port = int(server.address.rpartition(":")[2])
        during.append(sum(c.status == psutil.CONN_ESTABLISHED and c.laddr.port == port for c in connections))

    drive(target(server), [Plan(seconds=1, concurrency=6, processes=2, channels=3, idle_channels=20)], count)
    with grpc.insecure_channel(server.address) as channel:
        (status,) = classifier_pb2_grpc.ClassifierStub(channel).ListModels(pb.ListModelsRequest()).models

    assert status.model.architecture == "6 peers"
    assert max(during) == 26


def test_plans_run_side_by_side(stub) -> None:
    """A second plan begins when it says, and each has its own result."""
    begun = time.monotonic()
    plans = [Plan(seconds=1.5, rate=50, arrivals="constant"), Plan(seconds=0.5, concurrency=1, begin=1.0)]
    flood, probe = drive(target(stub(delay=0.01)), plans)

    assert len(flood.records) == 75 and 0 < len(probe.records) <= 50
    assert time.monotonic() - begun < 20


def test_no_server_is_a_clear_sentence() -> None:
    """Where nothing listens, the error says so and what to do, and no process stays."""
    before = {child.pid for child in psutil.Process().children()}
    with pytest.raises(ResServeError, match="start one with `resserve serve`"):
        drive(Target(address="127.0.0.1:9", images=IMAGES), [Plan(seconds=1)])
    left = [c for c in psutil.Process().children() if c.pid not in before and "spawn_main" in " ".join(c.cmdline())]

    assert left == []
