"""Top-1 accuracy of a served model on a folder of labelled pictures, through the service itself."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grpc

from bench.load.stats import Estimate, proportion
from resserve.errors import ResServeError
from resserve.v1 import classifier_pb2 as pb
from resserve.v1 import classifier_pb2_grpc

_CALLERS = 8
_DEADLINE_SECONDS = 120.0


@dataclass(frozen=True)
class Labelled:
    """Pictures with the name of their class."""

    paths: list[Path]
    labels: list[str]


def labelled(data: Path) -> Labelled:
    """The held-out part of a folder in ImageFolder layout: `val/`, else `test/`, else the folder itself.

    Raises:
        ResServeError: there is no `<class>/<picture>` in it.
    """
    part = next((data / name for name in ("val", "test") if (data / name).is_dir()), data)
    paths = sorted(path for path in part.glob("*/*") if path.is_file() and not path.name.startswith("."))
    if not paths:
        raise ResServeError(f"{part} holds no <class>/<picture>; name a folder in ImageFolder layout with --data.")
    return Labelled(paths, [path.parent.name for path in paths])


def accuracy(address: str, model: str, known: list[str], data: Labelled) -> Estimate:
    """The share of pictures whose most probable label is their class, with Wilson's 95 % interval.

    Args:
        address: of the service.
        model: its name there.
        known: the model's labels.
        data: what to ask.

    Raises:
        ResServeError: the model does not know a class of the data, or the service does not answer.
    """
    if missing := sorted(set(data.labels) - set(known)):
        raise ResServeError(f"{model} knows no class {missing[0]!r}: --data must hold the classes it was trained on.")
    with grpc.insecure_channel(address) as channel:
        stub = classifier_pb2_grpc.ClassifierStub(channel)

        def right(path: Path, label: str) -> bool:
            request = pb.ClassifyRequest(model=model, images=[path.read_bytes()], top_k=1)
            result = stub.Classify(request, timeout=_DEADLINE_SECONDS).results[0]
            if result.HasField("error"):
                raise ResServeError(f"{path}: {result.error.message}")
            return bool(result.labels[0].name == label)

        try:
            with ThreadPoolExecutor(_CALLERS) as pool:
                hits = sum(pool.map(right, data.paths, data.labels))
        except grpc.RpcError as error:
            raise ResServeError(f"{model} failed while its accuracy was measured: {error.details()}") from None
    return proportion(hits, len(data.paths))
