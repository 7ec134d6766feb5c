"""A service in simulated time: the scheduler's own queue and pace between made-up callers and made-up lanes."""

import heapq
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from service.dispatch.admission import Job, Policy, Queue, RefusedError
from service.latency import LatencyModel
from service.worker.plan import Plan


@dataclass(frozen=True, slots=True)
class Arrival:
    """One image that a client sends `at` some second, to be answered within `within` seconds."""

    at: float
    client: str
    within: float
    level: int = 0
    size: int = 1


@dataclass(slots=True)
class Record:
    """What became of an arrival: how it ended (once, if all is well), and when it was started."""

    arrival: Arrival
    ends: list[str] = field(default_factory=list)
    started: float | None = None
    ended: float = 0.0

    @property
    def answered(self) -> bool:
        """Answered before its deadline."""
        return self.ends == ["answered"] and self.ended <= self.arrival.at + self.arrival.within


@dataclass
class World:
    """Lanes and decoders that take the time they are told to, whatever the pace believes.

    Attributes:
        run_seconds: (time, batch size) to the seconds that a run really takes.
        decode_seconds: likewise for decoding one image.
    """

    latency: LatencyModel
    policy: Policy
    run_seconds: Callable[[float, int], float]
    decode_seconds: float

    def __post_init__(self) -> None:
        self.queue = Queue(self.policy)
        self.records: dict[int, Record] = {}
        self.waiting: dict[int, Job] = {}
        self.most_bytes = 0
        self.order: list[Job] = []
        self._numbers = itertools.count()
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._sequence = itertools.count()
        self._decoding = self._running = 0
        self._idle = self.latency.lanes
        self._decoded: list[tuple[int, Job]] = []
        self._credits = Plan(self.latency.lanes, self.latency.max_batch, solo_threads=0).credits
        self._to_decode: list[Job] = []
        self._free_decoders = self.latency.decoders

    @property
    def in_service(self) -> int:
        """Images between the start of decoding and the end of their run."""
        return self._decoding + len(self._to_decode) + len(self._decoded) + self._running

    def play(self, arrivals: Iterable[Arrival]) -> list[Record]:
        """Let everything happen, to the last answer."""
        for arrival in arrivals:
            self._at(arrival.at, lambda now, arrival=arrival: self._arrive(arrival, now))
        while self._events:
            now, _, happen = heapq.heappop(self._events)
            happen(now)
            self._advance(now)
            self._check()
        return list(self.records.values())

    def _at(self, when: float, happen: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (when, next(self._sequence), happen))

    def _arrive(self, arrival: Arrival, now: float) -> None:
        deadline = now + arrival.within
        job = Job(
            number=next(self._numbers),
            client=arrival.client,
            deadline=deadline,
            latest_start=self.policy.latest_start(now, deadline),
            key=self.policy.key(now, deadline, arrival.level),
            size=arrival.size,
        )
        self.records[job.number] = Record(arrival)
        try:
            gave_way = self.queue.admit(job, now, self.latency, self.in_service)
        except RefusedError as refused:
            assert self.in_service or refused.reason == "memory", "an idle device refused a job"
            self._end(job, f"refused: {refused.reason}", now)
            return
        self.waiting[job.number] = job
        for other in gave_way:
            self._end(other, "gave way", now)

    def _advance(self, now: float) -> None:
        while self.in_service < self._credits:
            job, late = self.queue.pop(now, self.latency, idle=self.in_service == 0)
            for other in late:
                self._end(other, "late", now)
            if job is None:
                assert len(self.queue) == 0, "there was work, and nobody took it"
                break
            del self.waiting[job.number]
            self.order.append(job)
            self._to_decode.append(job)
        while self._to_decode and self._free_decoders:
            self._start_decoding(self._to_decode.pop(0), now)
        while self._decoded and self._idle:
            self._start_run(now)

    def _start_decoding(self, job: Job, now: float) -> None:
        place = next(self._sequence)  # once taken, nobody is overtaken any more
        self._free_decoders -= 1
        self._decoding += 1

        def decoded(now: float) -> None:
            self._free_decoders += 1
            self._decoding -= 1
            self.latency.observe_decode(self.decode_seconds)
            heapq.heappush(self._decoded, (place, job))

        self._at(now + self.decode_seconds, decoded)

    def _start_run(self, now: float) -> None:
        """As the worker's lanes: what waits is shared out, and what has expired is dropped."""
        share = min(-(-len(self._decoded) // self._idle), self.latency.max_batch)
        size = self.latency.size_in_time(now, (job.deadline for _, job in heapq.nsmallest(share, self._decoded)))
        batch = [heapq.heappop(self._decoded)[1] for _ in range(size)]
        for job in [job for job in batch if job.deadline < now]:
            batch.remove(job)
            self._end(job, "dropped", now)
        if not batch:
            return
        self._idle -= 1
        self._running += len(batch)
        seconds = self.run_seconds(now, len(batch))
        for job in batch:
            self.records[job.number].started = now

        def finished(now: float) -> None:
            self._idle += 1
            self._running -= len(batch)
            self.latency.observe_run(len(batch), seconds, solo=False)
            for job in batch:
                self._end(job, "answered", now)

        self._at(now + seconds, finished)

    def _end(self, job: Job, how: str, now: float) -> None:
        self.waiting.pop(job.number, None)
        record = self.records[job.number]
        record.ends.append(how)
        record.ended = now

    def _check(self) -> None:
        assert len(self.queue) == len(self.waiting)
        self.most_bytes = max(self.most_bytes, sum(job.size for job in self.waiting.values()))


def by_client(records: Iterable[Record]) -> dict[str, list[Record]]:
    """The records of each client."""
    grouped = defaultdict(list)
    for record in records:
        grouped[record.arrival.client].append(record)
    return grouped
