"""The blocking client."""

from collections.abc import Iterable, Iterator, Sequence
from queue import SimpleQueue
from typing import Self, Unpack, overload

import grpc

from resserve import DEFAULT_TARGET
from resserve.addresses import grpc_target
from resserve.client.images import Image, check_several, encode
from resserve.client.results import ModelStatus, Prediction, model_status
from resserve.client.wire import (
    CHANNEL_OPTIONS,
    Exchange,
    Options,
    build_request,
    call_error,
    ended_early,
    read_stream_response,
)
from resserve.errors import ClassifyError
from resserve.v1 import classifier_pb2 as pb
from resserve.v1.classifier_pb2_grpc import ClassifierStub


class Client:
    """A connection to one service: made at the first call, usable from all threads, closed by `close` or `with`.

    A call that finds the service unavailable is tried up to five times in about 1.5 s, within its timeout.

    Args:
        target: host:port of the service's gRPC port; 8001 where no port is named.
        timeout: seconds that a call may take, the service's queue included, unless the call says otherwise.

    Raises:
        InvalidInputError: the target is an address of the web.
    """

    def __init__(self, target: str = DEFAULT_TARGET, *, timeout: float = 30.0) -> None:
        self._target = target = grpc_target(target)
        self._timeout = timeout
        self._channel = grpc.insecure_channel(target, CHANNEL_OPTIONS)
        self._stub = ClassifierStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; calls under way fail."""
        self._channel.close()

    # A path is, as text, also a sequence of texts; the first overload takes it.
    @overload
    def classify(  # type: ignore[overload-overlap]
        self, images: Image, *, timeout: float | None = None, **options: Unpack[Options]
    ) -> Prediction: ...

    @overload
    def classify(
        self, images: Sequence[Image], *, timeout: float | None = None, **options: Unpack[Options]
    ) -> list[Prediction | ClassifyError]: ...

    def classify(
        self, images: Image | Sequence[Image], *, timeout: float | None = None, **options: Unpack[Options]
    ) -> Prediction | list[Prediction | ClassifyError]:
        """Classify one image, or several in one request.

        Args:
            images: a path, an encoded file's bytes, a file opened in binary, a Pillow image or RGB pixels as uint8
                [height, width, 3]; or a sequence of those.
            timeout: seconds; None is the client's.
            options: see `Options`: model, version, top_k, logits, priority.

        Returns:
            The prediction for one image. For several, one entry each, in order: an image that could not be read or
            classified is a ClassifyError in its place, so that it does not spoil the others.

        Raises:
            ClassifyError: the call failed, or the one image did; its subclasses say how.
        """
        exchange = Exchange(images, options)
        response = pb.ClassifyResponse()
        if exchange.request:
            try:
                response = self._stub.Classify(exchange.request, timeout=self._timeout if timeout is None else timeout)
            except grpc.RpcError as error:
                raise call_error(error, self._target) from error
        return exchange.result(response)

    def classify_stream(
        self, images: Iterable[Image], *, in_flight: int = 16, timeout: float | None = None, **options: Unpack[Options]
    ) -> Iterator[tuple[int, Prediction | ClassifyError]]:
        """Classify any number of images over one stream, each a request of its own.

        Args:
            images: taken one by one, as answers make room.
            in_flight: how many may be sent and not yet answered; with 1, an image is taken only when the one before
                it has been answered.
            timeout: seconds for the whole stream; None is no limit.
            options: see `Options`: model, version, top_k, logits, priority.

        Yields:
            In any order, the image's index in `images`, and its prediction or, as a value, the error it met.

        Raises:
            ClassifyError: the stream broke; images without an answer may be sent again.
        """
        check_several(images)
        requests: SimpleQueue[pb.ClassifyRequest | None] = SimpleQueue()
        answers = self._stub.ClassifyStream(iter(requests.get, None), timeout=timeout)
        waiting = 0
        try:
            for index, image in enumerate(images):
                try:
                    request = build_request([encode(image)], request_id=str(index), **options)
                except ClassifyError as error:
                    yield index, error
                    continue
                requests.put(request)
                waiting += 1
                if waiting >= in_flight:
                    yield read_stream_response(next(answers))
                    waiting -= 1
            requests.put(None)
            while waiting:
                yield read_stream_response(next(answers))
                waiting -= 1
        except StopIteration:
            raise ended_early(self._target) from None
        except grpc.RpcError as error:
            raise call_error(error, self._target) from error
        finally:
            requests.put(None)
            answers.cancel()

    def list_models(self, *, timeout: float | None = None) -> list[ModelStatus]:
        """Every model version that the service knows.

        Raises:
            ClassifyError: the call failed.
        """
        try:
            response = self._stub.ListModels(
                pb.ListModelsRequest(), timeout=self._timeout if timeout is None else timeout
            )
        except grpc.RpcError as error:
            raise call_error(error, self._target) from error
        return [model_status(message) for message in response.models]
