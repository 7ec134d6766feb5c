"""Load from other processes."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.load import Report
from tests.serving import Server


class Callers:
    """A process of callers that check every answer."""

    def __init__(self, server: Server, repository: Path, *models: str, callers: int, deadline: float) -> None:
        named = [part for model in models for part in ("--model", model)]
        self.process = subprocess.Popen(
            [
                *(sys.executable, str(Path(__file__).parent / "load.py")),
                *("--target", server.address, "--repository", str(repository), *named),
                *("--callers", str(callers), "--deadline", str(deadline)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline(), "the callers ended"

    def stop(self) -> Report:
        """Let them finish what they asked."""
        said, _ = self.process.communicate(timeout=180)
        return Report(**json.loads(said))

    def unharmed(self) -> None:
        """Let them finish: every answer was right and no call failed."""
        report = self.stop()
        assert (report.wrong, report.codes, report.right > 0) == (0, {}, True), report


@pytest.fixture
def load() -> Iterator[Callable[..., Callers]]:
    """Starts load: `load(server, repository, "alpha", callers=4)` returns once every caller had an answer."""
    running: list[Callers] = []

    def start(server: Server, repository: Path, *models: str, callers: int = 4, deadline: float = 60.0) -> Callers:
        running.append(Callers(server, repository, *models, callers=callers, deadline=deadline))
        return running[-1]

    yield start
    for callers in running:
        callers.process.kill()
        callers.process.communicate()
