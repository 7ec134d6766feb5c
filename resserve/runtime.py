"""Which ONNX Runtime is installed: the CPU package and the GPU package share one import name."""

from importlib import metadata

from resserve.errors import ResServeError

DISTRIBUTIONS = ("onnxruntime", "onnxruntime-gpu")


def check_onnxruntime() -> str:
    """Name the one distribution that provides `onnxruntime`, without importing it.

    Raises:
        ResServeError: neither is installed, or both are: each overwrites files of the other, so which one a
            process gets is left to chance.
    """
    installed = [name for name in DISTRIBUTIONS if _is_installed(name)]
    if not installed:
        raise ResServeError(
            "ONNX Runtime is not installed; run `pip install 'resserve[cpu]'`, or 'resserve[gpu]' for an NVIDIA GPU."
        )
    if len(installed) > 1:
        raise ResServeError(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other's files; run "
            "`pip uninstall onnxruntime onnxruntime-gpu`, then `pip install 'resserve[cpu]'` or 'resserve[gpu]'."
        )
    return installed[0]


def _is_installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True
