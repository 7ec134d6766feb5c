"""Every series of the frontends and the supervisor: names, types, units, labels and help in one place."""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)

# 0.5 ms to 10 s in steps of about 1.5.
BUCKETS = (
    0.0005, 0.00075, 0.001, 0.0015, 0.0025, 0.004, 0.006, 0.009, 0.0135, 0.02, 0.03, 0.045, 0.07,
    0.1, 0.15, 0.225, 0.35, 0.5, 0.75, 1.1, 1.7, 2.5, 4.0, 6.0, 10.0,
)  # fmt: skip
STAGES = ("decode", "queue", "compute", "respond")

MODEL = ("model", "version", "architecture", "precision", "device")


class Metrics:
    """The series of one frontend, in a registry of their own."""

    def __init__(self) -> None:
        """Register everything."""
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the text format has no use for them, and they double the series
        self.registry = registry = CollectorRegistry()

        def histogram(name: str, text: str, labels: tuple[str, ...], buckets: tuple[float, ...] = BUCKETS) -> Histogram:
            return Histogram(name, text, labels, registry=registry, buckets=buckets)

        def counter(name: str, text: str, labels: tuple[str, ...]) -> Counter:
            return Counter(name, text, labels, registry=registry)

        def gauge(name: str, text: str, labels: tuple[str, ...]) -> Gauge:
            return Gauge(name, text, labels, registry=registry)

        self.request = histogram("resserve_request_seconds", "Arrival to finished answer.", (*MODEL, "code"))
        self.stage = histogram("resserve_stage_seconds", "Parts of an answered request.", (*MODEL, "stage"))
        self.batch = histogram(
            "resserve_batch_images", "Images per run of the model.", MODEL, (1, 2, 4, 8, 16, 32, 64, 128, 256)
        )
        self.images = counter("resserve_images", "Images classified.", MODEL)
        self.mended = counter("resserve_mended_images", "JPEGs without their last bytes, decoded all the same.", MODEL)
        self.rejected = counter("resserve_rejected", "Images and requests not answered.", ("model", "reason"))
        self.queue = gauge("resserve_queue_images", "Images that wait to be decoded.", MODEL)
        self.in_flight = gauge("resserve_in_service_images", "Images between decoding and the end of their run.", MODEL)
        self.new_shapes = counter(
            "resserve_first_seen_shapes", "Batches of a size that a GPU had not run before it was ready.", MODEL
        )
        rpc = ("grpc_type", "grpc_service", "grpc_method")
        self.handled = counter("grpc_server_handled", "RPCs completed, by code.", (*rpc, "grpc_code"))
        self.handling = histogram("grpc_server_handling_seconds", "RPCs from start to end, in seconds.", rpc)

    def remove(self, model: str, version: int) -> None:
        """Drop the series of a version that is gone."""
        labels = {"model": model, "version": str(version)}
        counted = (self.request, self.stage, self.batch, self.images, self.mended, self.new_shapes)
        for metric in (*counted, self.queue, self.in_flight):
            metric.remove_by_labels(labels)


class SupervisorMetrics:
    """The series of the supervisor, in a registry of their own."""

    def __init__(self) -> None:
        """Register everything."""
        self.registry = CollectorRegistry()
        self.restarts = Counter(
            "resserve_worker_restarts", "Workers that were replaced.", ("model", "reason"), registry=self.registry
        )


class ModelMetrics:
    """The series of one model version, their label values bound once: looking them up costs as much as observing."""

    def __init__(self, metrics: Metrics, labels: dict[str, str]) -> None:
        """`labels`: a value for each of MODEL."""
        self._metrics = metrics
        self._labels = labels
        self._request: dict[str, Histogram] = {}
        self._stages = [metrics.stage.labels(**labels, stage=stage) for stage in STAGES]
        self.batch = metrics.batch.labels(**labels)
        self.images = metrics.images.labels(**labels)
        self.mended = metrics.mended.labels(**labels)
        self.new_shapes = metrics.new_shapes.labels(**labels)
        self.queue = metrics.queue.labels(**labels)
        self.in_flight = metrics.in_flight.labels(**labels)

    def request(self, code: str, seconds: float) -> None:
        """Count one finished request."""
        if code not in self._request:
            self._request[code] = self._metrics.request.labels(**self._labels, code=code)
        self._request[code].observe(seconds)

    def stages(self, seconds: tuple[float, float, float, float]) -> None:
        """The parts of one answered request, in the order of STAGES."""
        for stage, value in zip(self._stages, seconds, strict=True):
            stage.observe(value)
