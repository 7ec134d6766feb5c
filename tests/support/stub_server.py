"""A real gRPC server of `resserve.v1.Classifier` that sleeps instead of classifying, with real metrics over HTTP.

Run as a program; it prints its two addresses as JSON. Requests pass one at a time through each of `--lanes`.
"""

import argparse
import asyncio
import json
import time

import grpc
import prometheus_client

from resserve.v1 import classifier_pb2 as pb
from resserve.v1 import classifier_pb2_grpc

BUCKETS = [0.0005 * 1.5**n for n in range(26)]


class Classifier(classifier_pb2_grpc.ClassifierServicer):
    def __init__(self, arguments: argparse.Namespace, seconds: prometheus_client.Histogram) -> None:
        self.arguments = arguments
        self.seconds = seconds
        self.lanes = asyncio.Semaphore(arguments.lanes)
        self.seen = 0
        self.peers: set[str] = set()

    async def Classify(self, request, context):  # noqa: N802
        begun = time.monotonic()
        number = self.seen = self.seen + 1
        self.peers.add(context.peer())
        if self.arguments.refuse_every and number % self.arguments.refuse_every == 0:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
        async with self.lanes:
            await asyncio.sleep(self.arguments.delay)
        label = pb.Label(index=1, name="1", probability=1.0)
        results = [pb.ImageResult(labels=[label]) for _ in request.images]
        if self.arguments.bad_every and number % self.arguments.bad_every == 0:
            results[0].error.code = grpc.StatusCode.INVALID_ARGUMENT.value[0]
        self.seconds.labels(model=request.model, code="OK").observe(time.monotonic() - begun)
        return pb.ClassifyResponse(results=results)

    async def ListModels(self, request, context):  # noqa: N802
        served = pb.ServedModel(name="stub", version=3, architecture=f"{len(self.peers)} peers")
        return pb.ListModelsResponse(models=[pb.ModelStatus(model=served, state=pb.MODEL_STATE_READY)])


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--lanes", type=int, default=1000)
    parser.add_argument("--refuse-every", type=int, default=0)
    parser.add_argument("--bad-every", type=int, default=0)
    arguments = parser.parse_args()
    registry = prometheus_client.CollectorRegistry()
    seconds = prometheus_client.Histogram(
        "resserve_request_seconds", "a request", ["model", "code"], buckets=BUCKETS, registry=registry
    )
    http, _ = prometheus_client.start_http_server(0, "127.0.0.1", registry)
    server = grpc.aio.server()
    classifier_pb2_grpc.add_ClassifierServicer_to_server(Classifier(arguments, seconds), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    metrics = f"http://127.0.0.1:{http.server_port}/metrics"
    print(json.dumps({"grpc": f"127.0.0.1:{port}", "metrics": metrics}), flush=True)
    await server.wait_for_termination()


asyncio.run(main())
