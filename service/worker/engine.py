"""ONNX Runtime: a batch of images in, logits out."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from resserve.cores import usable_cores
from resserve.errors import ResServeError
from service.worker.buffers import Buffers
from service.worker.plan import Plan

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"

# cuDNN's exhaustive search would time every algorithm anew for each shape; TensorFloat-32 is not float32 as certified.
_PROVIDER_OPTIONS = {CPU: {}, CUDA: {"device_id": "0", "cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"}}

ort.set_default_logger_severity(3)  # the optimiser warns that its file is tied to this machine; the cache's key says it

# One arena for both sessions of a model, which grows by what is asked for instead of doubling.
ort.create_and_register_allocator(
    ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT),
    ort.OrtArenaCfg({"arena_extend_strategy": 1}),
)


class Engine:
    """One model on one device; `run` may be called by several threads at once.

    Attributes:
        plan: how it is to be used.
        provider: ONNX Runtime's name of what runs the model.
        device: "cpu" or "cuda:0".
    """

    def __init__(self, model: Path, plan: Plan, *, provider: str, precision: str, optimised: bool) -> None:
        """Load the model.

        Args:
            model: the ONNX file.
            plan: the session for a lone job is made only when the plan has one.
            provider: CPU or CUDA.
            precision: of the weights.
            optimised: the file was written by the optimiser, which need not run again.

        Raises:
            ResServeError: the runtime does not load the model, or loads it elsewhere than asked.
        """
        self.plan = plan
        # By size of batch, where the plan fixes the sizes: as many as ever ran at the same time.
        self._buffers: dict[int, list[Buffers]] = {}
        self.provider = provider
        self.device = "cuda:0" if provider == CUDA else "cpu"
        self._lanes = _session(model, provider, threads=1, precision=precision, optimised=optimised)
        # The weights of both sessions are one mapped file, so the second costs little memory.
        self._solo = (
            _session(model, provider, threads=plan.solo_threads, precision=precision, optimised=optimised)
            if plan.solo_threads
            else None
        )

    def is_new(self, count: int) -> bool:
        """Whether the device would meet the shape of this batch for the first time, which costs it a search."""
        return self.plan.fixed and self.plan.padded(count) not in self._buffers

    def run(self, images: NDArray[np.uint8], solo: bool = False) -> NDArray[np.float32]:
        """Logits, float32 [N, classes], of images, uint8 [N, H, W, 3].

        Raises:
            Exception: whatever the runtime raises.
        """
        if self.plan.fixed:
            return self._run_padded(images)
        session = self._solo if solo and self._solo else self._lanes
        logits: NDArray[np.float32] = session.run(["logits"], {"images": images})[0]
        return logits

    def _run_padded(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        size = self.plan.padded(len(images))
        free = self._buffers.setdefault(size, [])
        try:
            buffers = free.pop()
        except IndexError:
            buffers = Buffers(self._lanes, self.device.partition(":")[0], size)
        try:
            return buffers.run(images)
        finally:
            free.append(buffers)


def _session(model: Path, provider: str, *, threads: int, precision: str, optimised: bool) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.use_env_allocators", "1")
    # A block for all of a run's tensors, planned from the shapes of the last, is one more that is kept: 20 MB.
    options.enable_mem_pattern = provider != CPU
    # Threads that share a run spin for its next part: sleeping between them costs 2 ms of 14 with int8. When the run is
    # over they sleep at once, for the cores are the decoder's and the lanes' again.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if precision == "fp32":
        # Packing copies the weights of linear layers, 0.5 GB a session for VGG-16, and gains nothing: 302 ms against
        # 294 ms an image. int8 needs it: 24 ms against 55 ms for ResNet-50 (docs/performance.md).
        options.add_session_config_entry("session.disable_prepacking", "1")
    if optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = ort.InferenceSession(model, options, providers=[(provider, _PROVIDER_OPTIONS[provider])])
    except Exception as error:
        raise ResServeError(f"ONNX Runtime cannot load {model} on {provider}: {_first_line(error)}") from None
    if session.get_providers()[0] != provider:
        raise ResServeError(f"{model} was to run on {provider}, but ONNX Runtime put it elsewhere.")
    return session


def optimise(model: Path, provider: str, out: Path) -> None:
    """Write the model as the runtime's optimiser leaves it, its weights beside it in a file that can be mapped.

    Raises:
        ResServeError: the runtime does not load the model.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = usable_cores()
    options.optimized_model_filepath = str(out)
    weights = out.with_suffix(".bin").name
    options.add_session_config_entry("session.optimized_model_external_initializers_file_name", weights)
    options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
    try:
        ort.InferenceSession(model, options, providers=[provider])
    except Exception as error:
        raise ResServeError(f"ONNX Runtime cannot load {model}: {_first_line(error)}") from None


def cuda_problem() -> str | None:
    """Why no model can run on CUDA here; None when the runtime offers it."""
    if CUDA in ort.get_available_providers():
        return None
    return "the installed onnxruntime has no CUDA provider; install resserve[gpu] in place of resserve[cpu]"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
