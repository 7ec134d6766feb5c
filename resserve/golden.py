"""Logits computed anew, held against PyTorch's: in export, in verify, and in the service before it answers anyone."""

import numpy as np
import numpy.typing as npt

from resserve.errors import ResServeError

Logits = npt.NDArray[np.float32]


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
