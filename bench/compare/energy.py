"""Energy counters, where the machine has readable ones: RAPL packages and NVIDIA boards."""

import importlib
from pathlib import Path
from typing import Any

_RAPL = Path("/sys/class/powercap")


def read_joules() -> dict[str, float]:
    """The counters of every package and board in joules, by name; empty where none can be read.

    RAPL's wrap around (every few minutes to hours under load); `spent` allows for one turn.
    """
    found: dict[str, float] = {}
    for zone in sorted(_RAPL.glob("intel-rapl:[0-9]*")):
        if zone.name.count(":") == 1 and (value := _read(zone / "energy_uj")) is not None:
            found[zone.name] = value / 1e6
    return found | _boards()


def spent(before: dict[str, float], after: dict[str, float]) -> float | None:
    """Joules between two readings, of all that both have; None where there is nothing."""
    both = before.keys() & after.keys()
    if not both:
        return None
    total = 0.0
    for name in both:
        difference = after[name] - before[name]
        if difference < 0:
            difference += (_read(_RAPL / name / "max_energy_range_uj") or 0.0) / 1e6
        total += difference
    return total


def _read(path: Path) -> float | None:
    try:
        return float(path.read_text())
    except (OSError, ValueError):  # absent, or for root alone
        return None


def _boards() -> dict[str, float]:
    """NVML counts millijoules since the driver was loaded (Volta and later)."""
    try:
        nvml: Any = importlib.import_module("pynvml")
        nvml.nvmlInit()
    except Exception:  # no package, no driver, no board: NVML raises its own kinds for each
        return {}
    try:
        handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        return {
            f"board {index}": nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3
            for index, handle in enumerate(handles)
        }
    except nvml.NVMLError:
        return {}
    finally:
        nvml.nvmlShutdown()
