"""`resserve bench` from the command line, against a real server."""

import csv
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from bench.host.models import write_stub
from bench.host.raw_runtime import reference
from bench.host.service import RESSERVE
from bench.load.driver import Plan
from bench.load.images import photo_jpegs
from bench.run.session import Session, run
from resserve.errors import ResServeError


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([RESSERVE, "bench", *arguments], capture_output=True, text=True, timeout=100, check=False)


def test_json_holds_every_figure_and_csv_every_request(stub, tmp_path: Path) -> None:
    """One run gives the plan, the machine, quantiles with intervals, the self check, and the same requests in CSV."""
    server = stub(delay=0.01, lanes=2)
    out = tmp_path / "requests.csv"
    ended = bench(
        server.address, "--metrics", server.metrics, "--rate", "50", "--arrivals", "constant",
        "--seconds", "2", "--warmup", "0.5", "--csv", str(out), "--json",
    )  # fmt: skip
    found = json.loads(ended.stdout)
    rows = list(csv.DictReader(out.read_text().splitlines()))
    p50 = found["result"]["latency_seconds"]["p50"]

    assert ended.returncode == 0 and (found["model"], found["version"]) == ("stub", 3)
    assert found["result"]["requests"] == len(rows) == 100
    assert found["result"]["offered_per_second"] == 50
    assert p50["low"] <= p50["value"] <= p50["high"]
    assert np.quantile([float(r["done"]) - float(r["due"]) for r in rows], 0.5) == pytest.approx(p50["value"], rel=0.2)
    assert found["self_check"]["generator_answers"] == found["self_check"]["server_answers"] == 125
    assert found["machine"]["cores"] >= 1 and found["plan"]["rate"] == 50


def test_sweep_finds_what_the_server_can_do(stub) -> None:
    """A server of one lane and 10 ms takes less than its 100 a second within 40 ms, and not nearly nothing."""
    server = stub(delay=0.01, lanes=1)
    ended = bench(
        server.address, "--metrics", "", "--objective", "p90=40ms", "--seconds", "0.6", "--warmup", "0.1",
        "--concurrency", "4", "--json",
    )  # fmt: skip
    found = json.loads(ended.stdout)

    assert found["objective"] == "p90=40ms" and found["self_check"] is None
    assert len(found["steps"]) == 7
    assert 0 < found["capacity_per_second"] < found["result"]["throughput_per_second"]


def test_tables_are_for_people(stub) -> None:
    """Without --json the same run is a table that names the quantiles and the generator's own cost."""
    server = stub(delay=0.005)
    ended = bench(server.address, "--metrics", server.metrics, "--seconds", "1", "--warmup", "0.2")

    assert ended.returncode == 0
    for words in ("latency p99", "ms CPU per request", "Against the server's own histogram", "agrees"):
        assert words in " ".join(ended.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--rate", "5", "--objective", "p99=1s"], 2, "leave --rate out"),
        (["--processes", "4", "--concurrency", "2"], 2, "each needs a caller"),
        (["127.0.0.1:9"], 1, "start one with `resserve serve`"),
        (["127.0.0.1:9", "--objective", "fast"], 1, "write one like p99=50ms"),
    ],
)
def test_mistakes_are_one_sentence(arguments, code, words) -> None:
    """Wrong usage exits 2, everything else 1, and never with a traceback."""
    ended = bench(*arguments)

    assert ended.returncode == code and "Traceback" not in ended.stderr
    assert words in " ".join(ended.stderr.replace("│", " ").split())


def test_unknown_model_is_told_with_what_there_is(stub) -> None:
    """The sentence lists the models that are ready."""
    with pytest.raises(ResServeError, match="with --model: stub"):
        run(Session(address=stub().address, plan=Plan(seconds=1), model="resnet50"))


def test_reference_measures_what_it_says(tmp_path: Path) -> None:
    """The yardsticks come from a process of their own; ideal follows from its parts, and batches beat single images."""
    found = reference(write_stub(tmp_path), photo_jpegs(4), seconds=0.3)

    assert found.ideal_throughput == pytest.approx(found.cores / (found.decode + found.model))
    assert found.ideal_one_caller == pytest.approx(1 / (found.decode_alone + found.model_alone))
    # Decoding a photo dwarfs a network of almost no work.
    assert found.decode > 3 * found.model and found.raw > 3 * found.ideal_throughput
