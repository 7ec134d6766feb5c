"""The way of one request through the rooms of the service, as a profiler sees it."""

import json
import os
import signal
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from tests.support.service_process import Golden, Server, wait_until

TRACING = Path(__file__).parents[1] / "support" / "tracing"
WAY = ["rpc", "dispatch", "images", "ipc", "worker", "ipc", "dispatch", "rpc"]
MAX_FILES, MAX_HOPS = 20, 30
# Reading a value is no hop.
PROPERTIES = {"in_service", "is_idle", "is_running", "returned", "size", "is_open"}


def traced(server: Server, folder: Path, image: bytes) -> list[tuple[str, str]]:
    """File and function of each call that one request makes, in their order, in whichever process."""
    processes = [server.pid, server.workers()[0].pid]
    records = [folder / f"{pid}.json" for pid in processes]
    for pid in processes:
        os.kill(pid, signal.SIGUSR1)
    server.classify(image)
    for pid in processes:
        os.kill(pid, signal.SIGUSR1)
    wait_until(lambda: all(record.exists() for record in records), "both processes have written their record")
    calls = sorted(call for record in records for call in json.loads(record.read_text()))
    for record in records:
        record.unlink()
    return [(file, name) for _, file, name in calls]


def hops(calls: list[tuple[str, str]]) -> list[str]:
    """Files in the order in which work is handed to one of their public functions by another file."""
    files = [file for file, name in calls if not name.startswith(("_", "<")) and name not in PROPERTIES]
    return [after for before, after in pairwise([*files[:1], *files]) if before != after]


def test_request_visits_the_rooms_in_order(
    serve: Callable[..., Server], repository: Path, tmp_path: Path, alpha: Golden
) -> None:
    """One request goes through the rooms as the design has it, in few files and hops, and past the supervisor."""
    server = serve(repository, "--model", "alpha", PYTHONPATH=str(TRACING), TRACE_TO=str(tmp_path))
    server.classify(alpha.pngs[0])
    traces = [traced(server, tmp_path, alpha.pngs[0]) for _ in range(5)]
    calls = min(traces, key=len)  # in some a ping falls
    files = {file for file, _ in calls}
    rooms = iter(file.partition("/")[0] for file, _ in calls)

    assert not [file for file in files if file.startswith("supervisor")]
    assert len(files) <= MAX_FILES, sorted(files)
    assert len(hops(calls)) <= MAX_HOPS, hops(calls)
    assert all(room in rooms for room in WAY), calls
