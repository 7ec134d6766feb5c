"""A frontend in this process, whose supervisor and worker the test plays."""

import asyncio
import gc
import threading
from pathlib import Path

import pytest

from resserve.files import MANIFEST, sha256_file
from resserve.model_key import ModelKey
from service.dispatch.version import BrokenVersion
from service.frontend.frontend import Frontend
from service.ipc import connection
from service.ipc.connection import Connection
from service.ipc.messages import (
    AddVersion,
    Attached,
    AttachWorker,
    Configure,
    GiveSamples,
    Loaded,
    Message,
    RejectedVersion,
    RemoveVersion,
    Samples,
    SetState,
    UseSlots,
)

SETTINGS = Configure(
    number=1,
    host="127.0.0.1",
    shared=False,
    default_deadline=30.0,
    wait_share=0.4,
    queue_order="deadline",
    drain_seconds=1.0,
    max_connection_age=0.0,
    max_connection_age_grace=0.0,
    latency_buckets=(0.01, 0.1, 1.0),
    log_level="error",
    log_format="json",
)
LOADED = Loaded(
    device="cpu",
    provider="CPUExecutionProvider",
    lanes=2,
    max_batch=1,
    solo_threads=0,
    fixed_sizes=False,
    credits=4,
    run_seconds={1: 0.01},
    solo_seconds=0.01,
)


class Supervisor:
    """The other end of a frontend's control connection."""

    def __init__(self) -> None:
        mine, theirs = connection.pair()
        self.heard: asyncio.Queue[Message] = asyncio.Queue()
        self.connection = Connection(mine, lambda message, _: self.heard.put_nowait(message), lambda: None)
        self.frontend = Frontend(SETTINGS, theirs, on_hang_up=lambda: None)

    async def next(self) -> Message:
        """The frontend's next message."""
        async with asyncio.timeout(30):
            return await self.heard.get()

    async def add(self, repository: Path, digest: str = "") -> ModelKey:
        """Announce version 1 of alpha."""
        directory = repository / "alpha" / "1"
        key = ModelKey("alpha", 1)
        self.connection.send(AddVersion(key, str(directory), digest or sha256_file(directory / MANIFEST)))
        return key

    async def samples(self) -> list[tuple[str, dict[str, str], float]]:
        """Everything that the frontend counts."""
        self.connection.send(GiveSamples())
        found = []
        while True:
            part = await self.next()
            assert isinstance(part, Samples)
            found += part.values
            if part.last:
                return found

    def close(self) -> None:
        self.frontend.close()
        self.connection.close()


def held() -> tuple[int, int, int]:
    """Descriptors, threads, and maps of slots that this process has."""
    gc.collect()
    slots = Path("/proc/self/maps").read_text().count("resserve-slots")
    return len(list(Path("/proc/self/fd").iterdir())), threading.active_count(), slots


def test_removed_version_leaves_nothing(repository: Path) -> None:
    """Its memory, its descriptors and its series go with it, though a worker was attached and it has counted."""

    async def live() -> None:
        supervisor = Supervisor()
        key = await supervisor.add(repository)
        supervisor.connection.send(RemoveVersion(key))
        await supervisor.samples()
        before = held()
        for worker in range(3):
            await supervisor.add(repository)
            mine, theirs = connection.pair()
            with mine, theirs:
                supervisor.connection.send(AttachWorker(key, worker, LOADED), theirs.fileno())
                assert await supervisor.next() == Attached(key, worker)
                assert isinstance(connection.receive_first(mine), UseSlots)
                assert [name for name, labels, _ in await supervisor.samples() if labels.get("model") == "alpha"]
                supervisor.connection.send(RemoveVersion(key))
                assert not [name for name, labels, _ in await supervisor.samples() if labels.get("model") == "alpha"]
        assert held() == before
        assert list(supervisor.frontend.inference.registry) == []
        supervisor.close()

    asyncio.run(live())


def test_closed_frontend_leaves_nothing(repository: Path) -> None:
    """Threads, descriptors and memory are given back."""

    async def live() -> None:
        others = set(threading.enumerate())
        supervisor = Supervisor()
        await supervisor.add(repository)
        await supervisor.samples()
        threads = [thread for thread in threading.enumerate() if thread not in others]
        assert threads
        supervisor.close()
        for thread in threads:
            await asyncio.to_thread(thread.join, 30)
            assert not thread.is_alive()

    before = held()
    asyncio.run(live())
    after = held()
    assert after[0] <= before[0] and after[2] == before[2]


def test_manifest_that_is_not_the_announced_one_is_not_served(repository: Path) -> None:
    """A frontend and the supervisor never serve different contents under one name."""

    async def live() -> None:
        supervisor = Supervisor()
        key = await supervisor.add(repository, digest="0" * 64)
        rejected = await supervisor.next()
        assert isinstance(rejected, RejectedVersion) and rejected.key == key and "was altered" in rejected.reason
        (version,) = supervisor.frontend.inference.registry
        assert isinstance(version, BrokenVersion)
        supervisor.close()

    asyncio.run(live())


@pytest.mark.parametrize("ends", ["supervisor", "frontend"])
def test_hang_up_is_noticed_once(ends: str) -> None:
    """A frontend whose supervisor has ended is told; one that was closed itself is not."""

    async def live() -> list[str]:
        told: list[str] = []
        mine, theirs = connection.pair()
        frontend = Frontend(SETTINGS, theirs, on_hang_up=lambda: told.append("ended"))
        if ends == "supervisor":
            mine.close()
            async with asyncio.timeout(30):
                while not told:
                    await asyncio.sleep(0)
        frontend.close()
        if ends == "frontend":
            mine.close()
            await asyncio.sleep(0)
        return told

    assert asyncio.run(live()) == (["ended"] if ends == "supervisor" else [])


def test_given_up_version_stays_given_up(repository: Path) -> None:
    """The end of its last worker, when it is noticed later, does not make it one that waits for a worker."""

    async def live() -> None:
        supervisor = Supervisor()
        key = await supervisor.add(repository)
        mine, theirs = connection.pair()
        with theirs:
            supervisor.connection.send(AttachWorker(key, 1, LOADED), theirs.fileno())
        assert await supervisor.next() == Attached(key, 1)
        supervisor.connection.send(SetState(key, "FAILED", "its worker ended 5 times in a row."))
        await supervisor.samples()
        mine.close()
        await supervisor.samples()
        (version,) = supervisor.frontend.inference.registry
        assert (version.description.state, version.description.reason) == (
            "FAILED",
            "its worker ended 5 times in a row.",
        )
        supervisor.close()

    asyncio.run(live())
