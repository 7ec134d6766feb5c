"""A long time of varying load and random faults; `RESSERVE_SOAK_MINUTES` says how long, 30 unless set."""

import os
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from tests.support.bad_callers import bombard
from tests.support.callers import Callers
from tests.support.service_process import Golden, Server, wait_until

MINUTES = float(os.environ.get("RESSERVE_SOAK_MINUTES", "30"))
_PHASE = 10.0  # seconds of one load

Load = Callable[..., Callers]


@dataclass
class Diary:
    """What happened."""

    right: int = 0
    wrong: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    ends: int = 0
    longest_gap: float = 0.0
    memory: list[tuple[float, int]] = field(default_factory=list)

    def add(self, callers: Callers) -> None:
        """Let callers finish, and enter what they saw."""
        report = callers.stop()
        self.right += report.right
        self.wrong += report.wrong
        self.codes.update(report.codes)
        self.longest_gap = max(self.longest_gap, report.longest_gap)

    def show(self, minutes: float) -> None:
        """The summary."""
        table = Table("what", "how much", title=f"soak of {minutes:.1f} minutes")
        table.add_row("right answers", f"{self.right:,}")
        table.add_row("wrong answers", f"{self.wrong:,}")
        table.add_row("calls that failed, by code", str(dict(self.codes)) if self.codes else "none")
        table.add_row("faults", ", ".join(f"{count} {name}" for name, count in self.faults.most_common()))
        table.add_row("longest time without an answer", f"{self.longest_gap:.2f} s")
        for minute, size in self.memory[:: max(1, len(self.memory) // 8)]:
            table.add_row(f"memory (PSS) at {minute:.1f} min", f"{size / 2**20:.1f} MiB")
        table.add_row("memory (PSS) at the end", f"{self.memory[-1][1] / 2**20:.1f} MiB")
        Console(width=100).print(table)


def at_rest(server: Server) -> int:
    """Bytes of memory of all processes (PSS) when nothing is in work and every worker is there."""
    wait_until(lambda: server.metric("resserve_model_state", state="READY") == 2, "both models are ready")
    wait_until(lambda: server.metric("resserve_in_service_images") == 0, "nothing is in work")
    return sum(process.memory_full_info().pss for process in server.everyone())


def fault(server: Server, load: Load, repository: Path, golden: Golden, rng: random.Random, diary: Diary) -> None:
    """Do one terrible thing, and wait until its effect has passed."""
    what = rng.choice(("kill", "kill", "stop", "vanish", "bad requests", "nothing"))
    diary.faults[what] += 1
    if what in ("kill", "stop"):
        worker = rng.choice(server.workers())
        worker.kill() if what == "kill" else worker.suspend()
        diary.ends += 1
        wait_until(lambda: len(server.events("worker ended")) >= diary.ends, "the worker's end is noticed")
        wait_until(lambda: server.metric("resserve_model_state", state="READY") == 2, "the worker was replaced")
    elif what == "vanish":
        doomed = load(server, repository, "alpha", callers=8)
        doomed.process.kill()
        doomed.process.communicate()
    elif what == "bad requests":
        bombard(server, golden, 200)


@pytest.mark.slow
@pytest.mark.timeout(int(MINUTES * 60 * 1.5) + 600)
def test_soak(serve: Callable[..., Server], load: Load, repository: Path, alpha: Golden) -> None:
    """No wrong answer, no lost one, and no memory that grows, however long it goes on."""
    server = serve(repository)
    rng, diary, begun = random.Random(1), Diary(), time.monotonic()
    warm = None
    while (elapsed := time.monotonic() - begun) < MINUTES * 60:
        callers = load(server, repository, "alpha", "beta", callers=rng.choice((1, 2, 4, 8, 16, 32)))
        phase = time.monotonic() + _PHASE
        while time.monotonic() < phase:
            time.sleep(rng.uniform(0.5, 3.0))
            fault(server, load, repository, alpha, rng, diary)
        diary.add(callers)
        diary.memory.append((elapsed / 60, at_rest(server)))
        if warm is None and elapsed > min(120.0, MINUTES * 20):
            warm = diary.memory[-1][1]
    diary.show((time.monotonic() - begun) / 60)

    assert diary.wrong == 0 and diary.right > 0
    assert not diary.codes, "a call failed"
    assert warm is not None and diary.memory[-1][1] < 1.1 * warm + 10 * 2**20
    assert server.metric("resserve_worker_restarts_total") == diary.ends
    assert not server.events("rpc failed") and server.stop() == 0
