"""What NVIDIA's management library tells of the GPUs, at each scrape; nothing where there is none."""

import contextlib
from collections.abc import Iterable, Iterator

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class GpuCollector(Collector):
    """Memory, utilisation, power and energy of each GPU."""

    def __init__(self) -> None:
        """Look for GPUs. Without nvidia-ml-py, a driver or a GPU there are no series."""
        self._count = 0
        try:
            import pynvml
        except ImportError:
            return
        self._nvml = pynvml
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlInit()
            self._count = pynvml.nvmlDeviceGetCount()

    def collect(self) -> Iterable[Metric]:
        """The series, with the label `gpu`: its number."""
        if not self._count:
            return []
        families: dict[str, GaugeMetricFamily | CounterMetricFamily] = {
            "used": GaugeMetricFamily("resserve_gpu_memory_used_bytes", "Of all processes.", labels=["gpu"]),
            "busy": GaugeMetricFamily("resserve_gpu_utilization_ratio", "Share of time at work.", labels=["gpu"]),
            "power": GaugeMetricFamily("resserve_gpu_power_watts", "Drawn now.", labels=["gpu"]),
            "energy": CounterMetricFamily("resserve_gpu_energy_joules", "Since the driver started.", labels=["gpu"]),
        }
        for number in range(self._count):
            for name, value in self._read(number):
                families[name].add_metric([str(number)], value)
        return families.values()

    def _read(self, number: int) -> Iterator[tuple[str, float]]:
        """The values that this GPU knows: not every one has all."""
        nvml = self._nvml
        gpu = nvml.nvmlDeviceGetHandleByIndex(number)
        with contextlib.suppress(nvml.NVMLError):
            yield "used", nvml.nvmlDeviceGetMemoryInfo(gpu).used
        with contextlib.suppress(nvml.NVMLError):
            yield "busy", nvml.nvmlDeviceGetUtilizationRates(gpu).gpu / 100
        with contextlib.suppress(nvml.NVMLError):
            yield "power", nvml.nvmlDeviceGetPowerUsage(gpu) / 1e3  # milliwatts
        with contextlib.suppress(nvml.NVMLError):
            yield "energy", nvml.nvmlDeviceGetTotalEnergyConsumption(gpu) / 1e3  # millijoules
