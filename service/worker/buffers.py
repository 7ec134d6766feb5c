"""Memory that stays where it is: pixels on the device, logits on the host, for batches of one size."""

from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray


class Buffers:
    """What one run at a time reads and writes, so that no run allocates: a session's input and output, bound once."""

    def __init__(self, session: Any, device: str, size: int) -> None:
        """Allocate.

        Args:
            session: an ONNX Runtime session from uint8 [N, H, W, 3] to float32 [N, classes].
            device: ONNX Runtime's name of where the pixels lie, "cpu" or "cuda".
            size: images in a batch.
        """
        self._session = session
        pixels, logits = session.get_inputs()[0], session.get_outputs()[0]
        self._padded = np.zeros((size, *pixels.shape[1:]), np.uint8)
        self._pixels = ort.OrtValue.ortvalue_from_shape_and_type(self._padded.shape, np.uint8, device)
        self._logits = np.empty((size, *logits.shape[1:]), np.float32)
        self._binding = session.io_binding()
        self._binding.bind_ortvalue_input(pixels.name, self._pixels)
        self._binding.bind_ortvalue_output(logits.name, ort.OrtValue.ortvalue_from_numpy(self._logits))

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits, float32 [N, classes], of at most `size` images, uint8 [N, H, W, 3]; earlier ones pad fewer.

        Raises:
            Exception: whatever the runtime raises.
        """
        batch = images
        if len(images) < len(self._padded):
            self._padded[: len(images)] = images
            batch = self._padded
        self._pixels.update_inplace(batch)
        self._binding.synchronize_inputs()
        self._session.run_with_iobinding(self._binding)
        self._binding.synchronize_outputs()
        return self._logits[: len(images)].copy()
