"""A server to load, in a process of its own."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Stub:
    address: str
    metrics: str
    process: subprocess.Popen[bytes]


@pytest.fixture
def stub() -> Iterator[Callable[..., Stub]]:
    """Starts stub servers: `stub(delay=0.01, lanes=1)`; they end with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(**options: float) -> Stub:
        flags = [text for name, value in options.items() for text in (f"--{name.replace('_', '-')}", str(value))]
        command = [sys.executable, str(Path(__file__).parents[1] / "support" / "stub_server.py"), *flags]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        return Stub(said["grpc"], said["metrics"], process)

    yield start
    for process in started:
        process.kill()
        process.communicate()
