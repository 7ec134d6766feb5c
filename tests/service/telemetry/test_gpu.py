"""GPU series, read from a stand-in for NVIDIA's library: the machines that run the tests have no GPU."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry

from service.telemetry.gpu import GpuCollector


class NVMLError(Exception):
    """What the library raises for anything it cannot tell."""


def library(**functions: object) -> ModuleType:
    """A pynvml that knows two GPUs and these functions; every other reading fails."""

    def unknown(_: object) -> None:
        raise NVMLError

    module = ModuleType("pynvml")
    readings = ("MemoryInfo", "UtilizationRates", "PowerUsage", "TotalEnergyConsumption")
    module.NVMLError = NVMLError
    module.nvmlInit = lambda: None
    module.nvmlDeviceGetCount = lambda: 2
    module.nvmlDeviceGetHandleByIndex = lambda number: number
    for name in readings:
        vars(module)[f"nvmlDeviceGet{name}"] = functions.get(name, unknown)
    return module


def test_readings_are_in_base_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """Milliwatts, millijoules and percent become watts, joules and a ratio."""
    nvml = library(
        MemoryInfo=lambda gpu: SimpleNamespace(used=1000 + gpu),
        UtilizationRates=lambda _: SimpleNamespace(gpu=25),
        PowerUsage=lambda _: 350_000,
        TotalEnergyConsumption=lambda _: 2_000,
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    registry = CollectorRegistry()
    registry.register(GpuCollector())

    assert registry.get_sample_value("resserve_gpu_memory_used_bytes", {"gpu": "1"}) == 1001
    assert registry.get_sample_value("resserve_gpu_utilization_ratio", {"gpu": "0"}) == 0.25
    assert registry.get_sample_value("resserve_gpu_power_watts", {"gpu": "0"}) == 350
    assert registry.get_sample_value("resserve_gpu_energy_joules_total", {"gpu": "0"}) == 2


def test_an_unknown_reading_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU that cannot tell its power still tells its memory."""
    monkeypatch.setitem(sys.modules, "pynvml", library(MemoryInfo=lambda _: SimpleNamespace(used=7)))
    registry = CollectorRegistry()
    registry.register(GpuCollector())

    assert registry.get_sample_value("resserve_gpu_memory_used_bytes", {"gpu": "0"}) == 7
    assert registry.get_sample_value("resserve_gpu_power_watts", {"gpu": "0"}) is None


def test_no_library_no_series(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without nvidia-ml-py there is nothing, and no error."""
    monkeypatch.setitem(sys.modules, "pynvml", None)
    registry = CollectorRegistry()
    registry.register(GpuCollector())

    assert list(registry.collect()) == []
