"""Every series of the frontends and the supervisor: names, types, units, labels and help in one place.

A counter whose labels are known ahead exists at 0 before its first event: Prometheus sees an increase only between two
samples, so an event that makes its own series is lost to rate() and increase(), and to the alerts that use them.
"""

from collections.abc import Iterable, Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)

from service.errors import UnknownModelError, codes, reasons

# Every way in which a request that found its version can end.
CODES = ("OK", *sorted(codes() - {UnknownModelError.code}))
# Ends of a worker after which another comes.
RESTARTS = ("crash", "hang")
STAGES = ("decode", "queue", "compute", "respond")

MODEL = ("model", "version", "architecture", "precision", "device")


class Metrics:
    """The series of one frontend, in a registry of their own."""

    def __init__(self, buckets: Sequence[float]) -> None:
        """Register everything; `buckets` are the upper bounds of the latency histograms, in seconds, ascending."""
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the text format has no use for them, and they double the series
        self.registry = registry = CollectorRegistry()

        def histogram(name: str, text: str, labels: tuple[str, ...], buckets: Sequence[float] = buckets) -> Histogram:
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
        self.add_model("")

    def add_model(self, model: str) -> None:
        """Show what counts by model from 0 on; "" stands for requests that found no model."""
        for reason in reasons():
            self.rejected.labels(model, reason)

    def remove_model(self, model: str) -> None:
        """Drop what counts by model, once none of its versions is left."""
        self.rejected.remove_by_labels({"model": model})

    def remove(self, model: str, version: int) -> None:
        """Drop the series of a version that is gone."""
        labels = {"model": model, "version": str(version)}
        counted = (self.request, self.stage, self.batch, self.images, self.mended, self.new_shapes)
        for metric in (*counted, self.queue, self.in_flight):
            metric.remove_by_labels(labels)


class SupervisorMetrics:
    """The series of the supervisor, in a registry of their own."""

    def __init__(self, models: Iterable[str]) -> None:
        """Register everything, and show what counts by model from 0 on."""
        self.registry = CollectorRegistry()
        self.restarts = Counter(
            "resserve_worker_restarts", "Workers that were replaced.", ("model", "reason"), registry=self.registry
        )
        for model in models:
            self.add_model(model)

    def add_model(self, model: str) -> None:
        """Show the counters of one more model from 0 on."""
        for reason in RESTARTS:
            self.restarts.labels(model, reason)


class ModelMetrics:
    """The series of one model version, their label values bound once: looking them up costs as much as observing."""

    def __init__(self, metrics: Metrics, labels: dict[str, str]) -> None:
        """`labels`: a value for each of MODEL."""
        self._requests = {code: metrics.request.labels(**labels, code=code) for code in CODES}
        self._stages = [metrics.stage.labels(**labels, stage=stage) for stage in STAGES]
        self.batch = metrics.batch.labels(**labels)
        self.images = metrics.images.labels(**labels)
        self.mended = metrics.mended.labels(**labels)
        self.new_shapes = metrics.new_shapes.labels(**labels)
        self.queue = metrics.queue.labels(**labels)
        self.in_flight = metrics.in_flight.labels(**labels)

    def request(self, code: str, seconds: float) -> None:
        """Count one finished request."""
        self._requests[code].observe(seconds)

    def stages(self, seconds: tuple[float, float, float, float]) -> None:
        """The parts of one answered request, in the order of STAGES."""
        for stage, value in zip(self._stages, seconds, strict=True):
            stage.observe(value)
