"""`resserve bench`: a load or a sweep against a running service, checked and held against plain ONNX Runtime."""

import csv
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import grpc

from bench.host.machine import describe
from bench.host.raw_runtime import Reference, reference
from bench.load.capacity import Objective, Step, find_capacity
from bench.load.driver import Plan, Target, drive
from bench.load.images import folder_images, photo_jpegs
from bench.load.progress import LiveView
from bench.load.result import Result
from bench.run.self_check import SelfCheck, check, read_histogram
from resserve.errors import ResServeError
from resserve.v1 import classifier_pb2 as pb
from resserve.v1 import classifier_pb2_grpc

_SWEEP_STEPS = 7


@dataclass(frozen=True, kw_only=True)
class Session:
    """What `resserve bench` was asked to do."""

    address: str
    plan: Plan
    model: str = ""
    images: Path | None = None  # None: generated photos
    metrics: str = ""  # URL of the server's metrics; empty: no self check
    objective: Objective | None = None
    repository: Path | None = None  # holds the served version: hold it against plain ONNX Runtime


@dataclass(frozen=True, kw_only=True)
class Report:
    """What came back."""

    model: str
    version: int
    plan: Plan
    machine: dict[str, Any]
    result: Result
    self_check: SelfCheck | None
    references: tuple[Reference, Reference] | None  # before and after
    objective: Objective | None
    capacity: float | None  # requests per second within the objective
    steps: list[Step]

    @property
    def raw(self) -> float | None:
        """Images per second of plain ONNX Runtime: the mean of before and after."""
        return None if self.references is None else sum(one.raw for one in self.references) / 2

    def summary(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        objective = self.objective
        found: dict[str, Any] = {
            "model": self.model,
            "version": self.version,
            "plan": asdict(self.plan),
            "machine": self.machine,
            "result": self.result.summary(),
            "self_check": self.self_check.summary() if self.self_check else None,
        }
        if self.references is not None and self.raw:
            found["references"] = [asdict(one) for one in self.references]
            found["ratio_to_raw"] = self.result.throughput / self.raw
        if objective is not None:
            found["objective"] = str(objective)
            found["capacity_per_second"] = self.capacity
            found["steps"] = [
                {
                    "rate": step.rate,
                    "met": step.met,
                    "share_within": objective.share(step.result),
                    "result": step.result.summary(),
                }
                for step in self.steps
            ]
        return found


def run(session: Session) -> Report:
    """Load the service as asked.

    With an objective, the plan's closed loop finds what the service can do at most, and a bisection of Poisson rates
    under it finds the capacity; the report's result is then the closed loop's.

    Raises:
        ResServeError: no service at the address, no such model, no image, or no such version in the repository.
    """
    machine = describe()
    model, version = _served(session.address, session.model)
    images = photo_jpegs(seed=session.plan.seed) if session.images is None else folder_images(session.images)
    target = Target(address=session.address, images=images, model=model)
    directory = None if session.repository is None else session.repository / model / str(version)
    before = None if directory is None else reference(directory, images)
    scraped = read_histogram(session.metrics, model) if session.metrics else None
    result = _load(target, session.plan, f"{model} at {session.address}")
    now = read_histogram(session.metrics, model) if scraped is not None else None
    capacity: float | None = None
    steps: list[Step] = []
    if session.objective is not None:
        capacity, steps = _sweep(target, session, result.throughput)
    return Report(
        model=model,
        version=version,
        plan=session.plan,
        machine=machine,
        result=result,
        self_check=check(result.records, now - scraped) if scraped is not None and now is not None else None,
        references=(before, reference(directory, images)) if before is not None and directory is not None else None,
        objective=session.objective,
        capacity=capacity,
        steps=steps,
    )


def write_csv(path: Path, result: Result) -> None:
    """Every request that counts, one a line: seconds from the start, and its gRPC code (0: answered)."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["due", "sent", "done", "deadline", "code"])
        writer.writerows(
            [f"{due:.6f}", f"{sent:.6f}", f"{done:.6f}", f"{deadline:.6f}", int(code)]
            for due, sent, done, deadline, code in result.counted
        )


def _load(target: Target, plan: Plan, title: str) -> Result:
    with LiveView(title, plan.seconds) as view:
        return drive(target, [plan], view.update)[0]


def _sweep(target: Target, session: Session, ceiling: float) -> tuple[float, list[Step]]:
    assert session.objective is not None

    def measure(rate: float) -> Result:
        return _load(target, replace(session.plan, rate=rate, arrivals="poisson"), f"{rate:.2f} requests per second")

    return find_capacity(measure, session.objective, ceiling, _SWEEP_STEPS)


def _served(address: str, wanted: str) -> tuple[str, int]:
    """The model's name and the version that answers for it."""
    with grpc.insecure_channel(address) as channel:
        try:
            listed = classifier_pb2_grpc.ClassifierStub(channel).ListModels(pb.ListModelsRequest(), timeout=10)
        except grpc.RpcError as error:
            raise ResServeError(
                f"No ResServe answers at {address} ({error.code().name}); start one with `resserve serve`."
            ) from None
    ready = {
        status.model.name: status.model.version for status in listed.models if status.state == pb.MODEL_STATE_READY
    }
    if wanted in ready:
        return wanted, ready[wanted]
    if not wanted and len(ready) == 1:
        return next(iter(ready.items()))
    names = ", ".join(sorted(ready)) or "none"
    raise ResServeError(f"Choose one of the models that are ready with --model: {names}.")
