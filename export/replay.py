"""ONNX Runtime over golden images, as the service runs it."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from resserve.certificate import Certificate, CertificateEntry
from resserve.errors import ResServeError
from resserve.golden import Logits

Images = npt.NDArray[np.uint8]

PROVIDER = "CPUExecutionProvider"

# 1 finds what needs a batch, 2 what the exporter has traced, 3 and 8 what it has frozen.
BATCHES = (1, 2, 3, 8)


def open_session(path: Path) -> onnxruntime.InferenceSession:
    """Open a model with the graph optimisations that the service uses.

    Raises:
        ResServeError: ONNX Runtime refuses the file.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(path, options, providers=[PROVIDER])
    except Exception as error:  # ONNX Runtime's own exceptions have no common base.
        raise ResServeError(f"ONNX Runtime cannot load {path}: {error}") from error


def run(session: onnxruntime.InferenceSession, images: Images, batch: int) -> Logits:
    """Logits [M, classes] of images [M, H, W, 3], `batch` at a time; the last batch may be smaller.

    Raises:
        ResServeError: ONNX Runtime cannot run a batch, e.g. as its size was frozen in the file.
    """
    (source,) = session.get_inputs()
    try:
        parts = [session.run(None, {source.name: images[at : at + batch]})[0] for at in range(0, len(images), batch)]
    except Exception as error:  # ONNX Runtime's own exceptions have no common base.
        raise ResServeError(f"ONNX Runtime cannot run the model on {batch} images at once: {error}") from error
    return np.concatenate(parts)


def replay(path: Path, images: Images, golden: Logits, certificate: Certificate) -> list[CertificateEntry]:
    """Run a model on the golden images at every batch size and hold it to a certificate's bounds.

    Raises:
        ResServeError: the model cannot be loaded or drifts.
    """
    session = open_session(path)
    return [certificate.check(run(session, images, batch), golden, batch=batch) for batch in BATCHES]
