"""Where to train, and in which number format."""

from contextlib import AbstractContextManager

import torch

from resserve.errors import ResServeError

AUTO = "auto"
PRECISIONS = ("fp32", "bf16")


def choose_device(name: str) -> torch.device:
    """The device of a name: "auto", "cpu", "cuda" or "cuda:N".

    Raises:
        ResServeError: it is not there, or there is no such name.
    """
    if name == AUTO:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise ResServeError(f"There is no device {name!r}; choose auto, cpu, cuda or cuda:N.")
    if device.type == "cuda":
        _check_cuda(device)
    return device


def _check_cuda(device: torch.device) -> None:
    if not torch.cuda.is_available():
        why = "has no CUDA" if torch.version.cuda is None else "finds no GPU it can use"
        raise ResServeError(f"There is no GPU to train on: PyTorch {torch.__version__} {why}; use --device cpu.")
    if (device.index or 0) >= torch.cuda.device_count():
        raise ResServeError(f"There is no {device}: this machine has {torch.cuda.device_count()} GPUs, from cuda:0.")


def choose_precision(name: str, device: torch.device) -> str:
    """The number format of a name: "auto" takes bf16 where the device multiplies in it, else fp32.

    On a CPU without such instructions bf16 is emulated, and slower than fp32.
    """
    if name == AUTO:
        return "bf16" if _multiplies_bf16(device) else "fp32"
    if name not in PRECISIONS:
        raise ResServeError(f"There is no precision {name!r}; choose auto, {' or '.join(PRECISIONS)}.")
    return name


def _multiplies_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        with torch.cuda.device(device):
            return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()  # says nothing before PyTorch 2.11
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def autocast(precision: str, device: torch.device) -> AbstractContextManager[None]:
    """The context of a forward pass."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")
