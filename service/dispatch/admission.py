"""The admission queue: which job runs next, and which is refused at once. Plain data and pure functions of time.

Times are seconds on one monotonic clock, handed in by the caller; nothing here reads a clock, waits, or knows gRPC.
"""

from bisect import bisect_right, insort
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Generic, Literal, TypeVar

import numpy as np

from service.latency import LatencyModel

QueueOrder = Literal["deadline", "arrival"]
Reason = Literal["deadline", "memory"]

# A level of priority is worth this many seconds of deadline. Within a level the order is by deadline alone, and as
# keys never change while those of newcomers grow, no level can be overtaken for ever.
PRIORITY_SECONDS = 1.0

# Jobs taken that count as a client's load: who has just been served a lot is not to push aside who waits.
_RECENT_JOBS = 256


@dataclass(eq=False, slots=True, kw_only=True)
class Job:
    """One image that waits.

    Attributes:
        number: unique, growing.
        client: who gets a fair share: a connection.
        size: bytes that it holds while it waits.
        key: the order of service, lowest first; equal keys in order of `number`.
        latest_start: predictions beyond this refuse the job at admission.
        deadline: nothing is started that would end after this.
    """

    number: int
    client: str
    deadline: float
    latest_start: float
    key: float
    size: int = 0
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """How jobs are ordered and how long they may wait.

    Attributes:
        queue_order: earliest deadline first, or first come first served. It decides whose jobs are refused under
            overload, not how many.
        wait_share: the part of its time a job may spend waiting. Under overload a job that may wait until the last
            moment waits until the last moment; at 0.4, nearly all answers come in three quarters of the time, the run
            of a batch included, at the same throughput.
        max_bytes: encoded images that may wait, together: a bound on memory, not on time.
    """

    queue_order: QueueOrder = "deadline"
    wait_share: float = 0.4
    max_bytes: int = 512 * 2**20

    def key(self, now: float, deadline: float, level: int) -> float:
        """The order of a job that arrives now; `level` is -1 (low), 0 or 1 (high)."""
        return now if self.queue_order == "arrival" else deadline - level * PRIORITY_SECONDS

    def latest_start(self, now: float, deadline: float) -> float:
        """How long a job that arrives now may be predicted to wait."""
        return now + self.wait_share * (deadline - now)


class RefusedError(Exception):
    """The job cannot be answered in time; `wait` is the predicted wait in seconds."""

    def __init__(self, reason: Reason, wait: float) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait = wait


_sort_key = attrgetter("key", "number")
J = TypeVar("J", bound=Job)


@dataclass(slots=True)
class Queue(Generic[J]):
    """The jobs that wait undecoded."""

    policy: Policy
    _jobs: list[J] = field(default_factory=list)
    _load: Counter[str] = field(default_factory=Counter)  # of a client: its jobs that wait or are among the last taken
    _taken: deque[str] = field(default_factory=deque)
    _bytes: int = 0

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[J]:
        return iter(self._jobs)

    def admit(self, job: J, now: float, latency: LatencyModel, in_service: int) -> list[J]:
        """Let the job wait, if it can then be answered in time and makes no other job late.

        When the queue is full, a client with less recent load takes the place of the last job of the client with the
        most, so that no client can starve the others.

        Args:
            job: with the policy's key and latest start.
            now: the time.
            latency: the predictions.
            in_service: images between decoding and the end of their run.

        Returns:
            The jobs that gave way: they are out, and their callers are to be told.

        Raises:
            RefusedError: nothing was changed.
        """
        line, load, held = self._jobs, self._load, self._bytes + job.size
        out: list[J] = []
        while blocked := self._blocked_by(job, line, held, now, latency, in_service):
            reason, movable = blocked
            victim = _heaviest(line, movable, load, than=job.client)
            if victim is None:
                place = bisect_right(self._jobs, _sort_key(job), key=_sort_key)
                raise RefusedError(reason, latency.wait(in_service + place))
            if not out:
                line, load = list(line), load.copy()  # nothing is changed before all is decided
            line.remove(victim)
            load[victim.client] -= 1
            held -= victim.size
            out.append(victim)
        for victim in out:
            self._remove(victim)
        insort(self._jobs, job, key=_sort_key)
        self._load[job.client] += 1
        self._bytes += job.size
        return out

    def _blocked_by(
        self, job: J, line: list[J], held: int, now: float, latency: LatencyModel, in_service: int
    ) -> tuple[Reason, int] | None:
        """Why `job` cannot be admitted, and how many at the head of the line one of which would have to go first."""
        place = bisect_right(line, _sort_key(job), key=_sort_key)
        # Only an idle device takes the job however long it is predicted to take, to learn whether that still holds:
        # otherwise one slow spell would refuse everything for ever.
        if (in_service or line) and not _fits(job, now, latency.wait(in_service + place), latency):
            return "deadline", place if now + latency.service_time <= job.deadline else 0
        if place < len(line) and (late := _made_late(line[place:], now, latency, in_service + place)) is not None:
            return "deadline", place + late + 1
        return ("memory", len(line)) if held > self.policy.max_bytes else None

    def pop(self, now: float, latency: LatencyModel, *, idle: bool) -> tuple[J | None, list[J]]:
        """Take the next job that can still end in time, and those before it that cannot.

        An idle device takes what has not expired, however slow it is predicted to be.
        """
        late: list[J] = []
        while self._jobs:
            job = self._jobs[0]
            self._remove(job)
            if now < job.deadline and (idle or now + latency.service_time <= job.deadline):
                self._load[job.client] += 1
                self._taken.append(job.client)
                if len(self._taken) > _RECENT_JOBS:
                    self._lighten(self._taken.popleft())
                return job, late
            late.append(job)
        return None, late

    def discard(self, job: J) -> None:
        """Forget a job that nobody wants any more; one that is not waiting is only marked."""
        job.cancelled = True
        place = bisect_right(self._jobs, _sort_key(job), key=_sort_key) - 1
        if place >= 0 and self._jobs[place] is job:
            self._remove(job)

    def drain(self) -> list[J]:
        """Take every job out."""
        jobs = list(self._jobs)
        for job in jobs:
            self._remove(job)
        return jobs

    def _remove(self, job: J) -> None:
        del self._jobs[bisect_right(self._jobs, _sort_key(job), key=_sort_key) - 1]
        self._bytes -= job.size
        self._lighten(job.client)

    def _lighten(self, client: str) -> None:
        self._load[client] -= 1
        if not self._load[client]:
            del self._load[client]


def _fits(job: Job, now: float, wait: float, latency: LatencyModel) -> bool:
    """Whether a job that starts after `wait` seconds has not waited too long then, and ends in time."""
    service = latency.busy_service_time if wait else latency.service_time
    return now + wait <= job.latest_start and now + wait + service <= job.deadline


def _made_late(behind: Sequence[Job], now: float, latency: LatencyModel, ahead: int) -> int | None:
    """The first of those behind a newcomer that would be late for it; `ahead` images are before the newcomer.

    Thousands may wait, so this is arithmetic on arrays.
    """
    latest = np.fromiter((job.latest_start for job in behind), float, len(behind))
    deadlines = np.fromiter((job.deadline for job in behind), float, len(behind))
    waits = latency.waits(ahead, len(behind) + 1)
    before, after = now + waits[:-1], now + waits[1:]
    services = np.where(waits[1:] > 0, latency.busy_service_time, latency.service_time)
    fits = (after <= latest) & (after + services <= deadlines)
    # One that has slipped behind its limit, as predictions do, is overtaken only when it is lost anyway.
    late = ~fits & (before + latency.service_time <= deadlines)
    return int(late.argmax()) if late.any() else None


def _heaviest(line: list[J], movable: int, load: Counter[str], than: str) -> J | None:
    """Of the first `movable` jobs the last one of the client with the highest load, if `than` has over one less."""
    bar = load[than] + 1
    if not movable or max(load.values()) <= bar:
        return None
    client = max({job.client for job in line[:movable]}, key=lambda name: load[name])
    if client == than or load[client] <= bar:
        return None
    return next(job for job in reversed(line[:movable]) if job.client == client)
