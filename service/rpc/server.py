"""The gRPC port: the classifier, health and reflection, every RPC through the interceptor."""

import asyncio
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from resserve.addresses import join
from resserve.v1 import classifier_pb2 as pb
from service.dispatch.inference import Inference
from service.ipc.messages import Configure
from service.rpc.classifier import Classifier
from service.rpc.interceptor import Interceptor
from service.rpc.parse import parse
from service.system.sockets import descriptors_for_connections, grpc_port_taken
from service.telemetry.metrics import Metrics

SERVICE = pb.DESCRIPTOR.services_by_name["Classifier"].full_name
_SERVICES = [
    service for file in (pb, health_pb2, reflection_pb2) for service in file.DESCRIPTOR.services_by_name.values()
]

# Three images of the largest size allowed, so that one over it gets a sentence and not a broken call.
MAX_MESSAGE_BYTES = 64 * 2**20

# Metadata of 16 kB is taken whatever else is in the headers. gRPC counts 32 bytes more for each entry, refuses some of
# what is over the first limit and all that is over the second.
_MAX_METADATA_BYTES = 24 * 1024
_MAX_METADATA_BYTES_EVER = 32 * 1024

# Clients may ping every 10 s. Where the network delays one ping and not the next, they arrive closer together.
_MIN_PING_INTERVAL_MS = 5000

_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_metadata_size", _MAX_METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", _MAX_METADATA_BYTES_EVER),
    ("grpc.http2.min_ping_interval_without_data_ms", _MIN_PING_INTERVAL_MS),
    ("grpc.keepalive_permit_without_calls", 1),
)

# Seconds in which a stopping service still takes calls, to refuse them: those that wait to be taken when gRPC stops are
# broken off without a word.
_REFUSING = 0.1
# Seconds for the last answers to leave. Health watches and idle streams, which have no end, are cut after them.
_FLUSH = 0.5


class GrpcServer:
    """The port and the health of what is behind it.

    Attributes:
        port: that is listened on.
    """

    def __init__(self, inference: Inference, metrics: Metrics, settings: Configure, port: int) -> None:
        """Take the port; nothing is answered before `start`.

        Args:
            inference: gives the answers.
            metrics: get every RPC.
            settings: where they say that it is shared, other processes of this service listen on the port too, and the
                kernel spreads the connections.
            port: 0 takes a free one.

        Raises:
            ResServeError: the port is taken, or the host is not an address of this machine.
        """
        self._inference = inference
        self._server = grpc.aio.server(
            interceptors=[Interceptor(metrics, _SERVICES)],
            options=(
                *_OPTIONS,
                *_connection_age(settings),
                ("grpc.so_reuseport", int(settings.shared)),
                ("grpc.max_allowed_incoming_connections", descriptors_for_connections()),
            ),
        )
        self._server.add_generic_rpc_handlers((_handlers(Classifier(inference)),))
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection((SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)
        try:
            self.port: int = self._server.add_insecure_port(join(settings.host, port))
        except RuntimeError:
            raise grpc_port_taken(settings.host, port) from None

    async def start(self) -> None:
        """Answer from now on. Alive is not ready: only health's "" says SERVING."""
        await self.set_health(SERVICE, False)
        await self.set_health("", True)
        await self._server.start()

    async def set_health(self, service: str, serving: bool) -> None:
        """Tell those who check or watch `service`."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        await self._health.set(service, status)

    async def stop(self, grace: float) -> None:
        """Say NOT_SERVING, refuse new calls, and wait up to `grace` seconds for those accepted."""
        await self._health.enter_graceful_shutdown()
        idle = asyncio.create_task(self._inference.drain().wait())
        await asyncio.sleep(_REFUSING)
        stopping = asyncio.create_task(self._server.stop(grace))
        await asyncio.wait({idle, stopping}, return_when=asyncio.FIRST_COMPLETED)
        idle.cancel()
        await self._server.stop(_FLUSH)
        await stopping


def _connection_age(settings: Configure) -> list[tuple[str, int]]:
    """When a client must connect anew, so that balancers that spread connections spread the load."""
    ages = {
        "grpc.max_connection_age_ms": settings.max_connection_age,
        "grpc.max_connection_age_grace_ms": settings.max_connection_age_grace,
    }
    # gRPC's own default is no limit, and it takes 0 for at once.
    return [(name, max(1, round(seconds * 1000))) for name, seconds in ages.items() if seconds]


def _handlers(classifier: Classifier) -> grpc.GenericRpcHandler:
    """The three methods; what protoc generates would parse a request whatever is in it."""
    answer, models = pb.ClassifyResponse.SerializeToString, pb.ListModelsResponse.SerializeToString
    methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "Classify": grpc.unary_unary_rpc_method_handler(classifier.Classify, parse, answer),
        "ClassifyStream": grpc.stream_stream_rpc_method_handler(classifier.ClassifyStream, parse, answer),
        "ListModels": grpc.unary_unary_rpc_method_handler(
            classifier.ListModels, pb.ListModelsRequest.FromString, models
        ),
    }
    return grpc.method_handlers_generic_handler(SERVICE, methods)
