"""Logits computed anew, held against PyTorch's: in export, in verify, and in the service before it answers anyone."""

from typing import Any

import numpy as np
import numpy.typing as npt

from resserve.errors import ResServeError

Logits = npt.NDArray[np.float32]

_SAME_PIXELS = 8  # of 255: what compressing a picture once more may change
_SAME_LOGITS = 1e-3  # of the largest logit: what a certificate in float32 allows a runtime to be off


def hold(logits: Logits, golden: Logits, *, tolerance: float, min_agreement: float, where: str) -> tuple[float, float]:
    """Compare, and accept or refuse.

    Args:
        logits: float32 [M, classes], computed anew.
        golden: float32 [M, classes], PyTorch's.
        tolerance: largest allowed difference.
        min_agreement: least allowed share of equal top answers.
        where: what computed them, for the message.

    Returns:
        The largest difference and the top-1 agreement.

    Raises:
        ResServeError: they drift further than allowed.
    """
    difference, agreement = compare(logits, golden)
    if difference > tolerance or agreement < min_agreement:
        raise ResServeError(
            f"{where} drifts from PyTorch: logits differ by up to {difference:.3g} (allowed {tolerance:.3g}) and "
            f"{agreement:.1%} of the top answers agree (required {min_agreement:.1%})."
        )
    return difference, agreement


def compare(logits: Logits, golden: Logits) -> tuple[float, float]:
    """The largest difference of two [M, classes] arrays, infinite where one is not finite, and their top-1 agreement.

    Raises:
        ResServeError: their shapes differ.
    """
    if logits.shape != golden.shape:
        raise ResServeError(
            f"The model answers logits of shape {logits.shape} where the golden ones have {golden.shape}; "
            "export the model again."
        )
    if not (np.isfinite(logits).all() and np.isfinite(golden).all()):
        return float("inf"), 0.0
    difference = np.abs(logits.astype(np.float64) - golden).max()
    agreement = (logits.argmax(axis=1) == golden.argmax(axis=1)).mean()
    return float(difference), float(agreement)


def check_varied(images: npt.NDArray[np.uint8], logits: Logits) -> None:
    """Refuse golden images that a model could answer alike whatever it makes of them.

    A runtime that mixes up pixels or weights is found only by images that differ, and by logits that differ with them.

    Args:
        images: uint8 [M, H, W, 3].
        logits: float32 [M, classes], PyTorch's of these images.

    Raises:
        ResServeError: fewer than half of the images, or of the rows of logits, can be told from the others.
    """
    need = (len(images) + 1) // 2
    if (apart := _count_apart(images.reshape(len(images), -1), _SAME_PIXELS)) < need:
        raise ResServeError(
            f"Of the {len(images)} golden images only {apart} can be told apart, where a certificate needs {need}: "
            "name a --golden folder of pictures that differ."
        )
    if (apart := _count_apart(logits, _SAME_LOGITS * float(np.abs(logits).max()))) < need:
        raise ResServeError(
            f"The network answers the {len(images)} golden images with {apart} different rows of logits, where a "
            f"certificate needs {need}: train it again, or name a --golden folder of pictures of its classes."
        )


def _count_apart(rows: npt.NDArray[Any], same: float) -> int:
    """The number of rows that differ by more than `same`, in at least one value, from each one counted before."""
    counted: list[npt.NDArray[np.float64]] = []
    for row in rows.astype(np.float64):
        if all(np.abs(row - other).max() > same for other in counted):
            counted.append(row)
    return len(counted)
