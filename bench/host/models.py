"""The model versions that benchmarks run: untrained networks by `resserve export`, and one of almost no work."""

import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import numpy as np
import onnxruntime as ort

from bench.host.service import RESSERVE
from resserve.certificate import REFERENCE_ENGINE, Certificate, CertificateEntry
from resserve.errors import ResServeError
from resserve.files import GOLDEN, MANIFEST, MODEL
from resserve.golden import compare
from resserve.manifest import FileRecord, InputSpec, Manifest, write_manifest
from resserve.repository import scan

STUB = "stub"
STUB_SIZE = 32


@dataclass(frozen=True)
class Untrained:
    """A network with random weights at 224 pixels and 1000 classes: as fast as a trained one."""

    architecture: str
    precision: str = "fp32"
    size: int = 224

    @property
    def name(self) -> str:
        """The model's name in the repository."""
        return self.architecture if self.precision == "fp32" else f"{self.architecture}-{self.precision}"

    @classmethod
    def parse(cls, text: str, size: int) -> "Untrained":
        """`resnet50`, or `resnet50-int8` for the quantised network."""
        architecture, _, precision = text.partition("-")
        return cls(architecture, precision or "fp32", size)


def version_directory(repository: Path, name: str) -> Path:
    """The newest version of a model.

    Raises:
        ResServeError: the repository has none.
    """
    available = scan(repository)
    if name not in available:
        raise ResServeError(f"{repository} has no model {name}; it has: {', '.join(available)}.")
    return repository / name / str(available[name][-1])


def prepare(repository: Path, wanted: Iterable[Untrained]) -> None:
    """Export what the repository lacks, each in a process of its own, so that no torch stays in this one.

    Raises:
        ResServeError: an export failed, with its message.
    """
    for one in wanted:
        if any((repository / one.name).glob(f"*/{MANIFEST}")):
            continue
        command = [RESSERVE, "export", one.architecture, "--untrained", "--size", str(one.size)]
        command += ["--name", one.name, "--repository", str(repository), "--precision", one.precision]
        ended = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        if ended.returncode != 0:
            raise ResServeError(f"`{' '.join(command)}` failed: {ended.stderr.strip()}")


def write_stub(repository: Path, name: str = STUB) -> Path:
    """A certified version of a network of almost no work, the mean colour times a matrix: the price of all else.

    Returns:
        Its folder; the one that is there, where there is one.
    """
    directory = repository / name / "1"
    if (directory / MANIFEST).is_file():
        return directory
    partial = repository / f".{name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((3, 8)).astype(np.float32)
    images = rng.integers(0, 256, (8, STUB_SIZE, STUB_SIZE, 3), dtype=np.uint8)
    golden = (images.mean(axis=(1, 2), dtype=np.float64) @ weights).astype(np.float32)
    _write_graph(partial / MODEL, weights)
    np.savez(partial / GOLDEN, images=images, logits=golden)
    write_manifest(partial, _stub_manifest(partial, name, images, golden))
    directory.parent.mkdir(exist_ok=True)
    partial.rename(directory)
    return directory


def _write_graph(path: Path, weights: np.ndarray) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "axes"], ["colour"], keepdims=0),
        helper.make_node("MatMul", ["colour", "weights"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        STUB,
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", STUB_SIZE, STUB_SIZE, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", weights.shape[1]])],
        [numpy_helper.from_array(np.array([1, 2]), "axes"), numpy_helper.from_array(weights, "weights")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)


def _stub_manifest(directory: Path, name: str, images: np.ndarray, golden: np.ndarray) -> Manifest:
    session = ort.InferenceSession(str(directory / MODEL), providers=["CPUExecutionProvider"])
    entries = []
    for batch in (1, 8):
        parts = [session.run(None, {"images": images[i : i + batch]})[0] for i in range(0, len(images), batch)]
        difference, agreement = compare(np.concatenate(parts), golden)
        entries.append(
            CertificateEntry(batch=batch, images=len(images), max_abs_diff=difference, top1_agreement=agreement)
        )
    return Manifest(
        name=name,
        version=1,
        architecture=STUB,
        precision="fp32",
        untrained=True,
        parameters=24,
        multiply_adds=24,
        input=InputSpec(height=STUB_SIZE, width=STUB_SIZE, resize=STUB_SIZE, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
        labels=[str(index) for index in range(golden.shape[1])],
        files={name: FileRecord.of(directory / name) for name in (MODEL, GOLDEN)},
        tools={"onnxruntime": metadata.version("onnxruntime")},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        certificates=[
            Certificate(
                engine=REFERENCE_ENGINE, compute="fp32", tolerance=0.01, min_top1_agreement=1.0, entries=entries
            )
        ],
    )
