"""Callers that hold connections open, or send what nobody should."""

import contextlib
import random
import socket

import grpc

from resserve.v1 import classifier_pb2 as pb
from resserve.v1 import classifier_pb2_grpc as pb_grpc
from tests.support.service_process import CHANNEL, Golden, Server


def hold(address: str, count: int, stack: contextlib.ExitStack) -> None:
    """Open so many connections and keep them open."""
    host, _, port = address.rpartition(":")
    for _ in range(count):
        stack.enter_context(socket.create_connection((host, int(port)), timeout=30))


def bad_request(rng: random.Random, good: bytes) -> pb.ClassifyRequest:
    """Something that no one should send."""
    cut = good[: rng.randrange(len(good))]
    flipped = bytearray(good)
    for _ in range(rng.randrange(1, 20)):
        flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
    image = rng.choice([b"", cut, bytes(flipped), rng.randbytes(rng.randrange(2000)), good[:8] + rng.randbytes(500)])
    return rng.choice(
        [
            pb.ClassifyRequest(model="alpha", images=[image]),
            pb.ClassifyRequest(model="alpha", images=[image, good, image]),
            pb.ClassifyRequest(model=rng.choice(["", "x" * 10_000, "../alpha", "alpha@1"]), images=[good]),
            pb.ClassifyRequest(model="alpha", version=rng.randrange(-(2**63), 2**63), images=[good]),
            pb.ClassifyRequest(model="alpha", id="i" * rng.randrange(100_000)),
            pb.ClassifyRequest(model="alpha", images=[image] * 50, top_k=2**32 - 1, priority=rng.randrange(2**31)),
        ]
    )


def bombard(server: Server, golden: Golden, count: int) -> None:
    """Send bad requests, by unary calls and by streams, some of them left before the answer."""
    rng = random.Random(count)
    allowed = {"INVALID_ARGUMENT", "NOT_FOUND", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "CANCELLED"}
    with grpc.insecure_channel(server.address, CHANNEL) as channel:
        stub = pb_grpc.ClassifierStub(channel)
        for start in range(0, count, 50):
            requests = [bad_request(rng, golden.pngs[0]) for _ in range(50)]
            if start % 200 == 150:
                answers = list(stub.ClassifyStream(iter(requests), timeout=120))
                assert len(answers) == 50
                continue
            calls = [stub.Classify.future(each, timeout=rng.choice((0.001, 60, 60, 60))) for each in requests]
            for call in rng.sample(calls, 5):
                call.cancel()
            for call in calls:
                # A bit that was flipped may still be an image.
                assert call.code() is grpc.StatusCode.OK or call.code().name in allowed, call.details()
