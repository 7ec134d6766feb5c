"""Load from other processes."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.callers import Callers
from tests.support.service_process import Server


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
