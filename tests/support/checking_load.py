"""Closed-loop load that checks every answer against PyTorch's for that very image; run as a program.

It prints a line once every caller had an answer, goes on until its input ends, and then prints a Report as JSON.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import numpy as np

from resserve.v1 import classifier_pb2 as pb
from resserve.v1 import classifier_pb2_grpc as pb_grpc

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.support.service_process import CHANNEL, Golden, golden


@dataclass
class Report:
    """What the callers saw.

    Attributes:
        right: answers within the certificate's tolerance.
        wrong: all others, of the right number of images or not.
        codes: calls that failed, by status code.
        says: one sentence for each code.
        longest_gap: seconds between two right answers in a row, of all callers together.
        slowest: seconds of the slowest right answer.
    """

    right: int = 0
    wrong: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    says: dict[str, str] = field(default_factory=dict)
    longest_gap: float = 0.0
    slowest: float = 0.0


class Load:
    """The callers, each with a connection of its own."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.report = Report()
        self.known: dict[str, Golden] = {name: golden(arguments.repository / name / "1") for name in arguments.model}
        self.end = asyncio.Event()
        self.last = time.monotonic()
        self.started = 0

    async def run(self) -> Report:
        """Until the input ends."""
        callers = [asyncio.create_task(self.caller(number)) for number in range(self.arguments.callers)]
        await asyncio.to_thread(sys.stdin.read)
        self.end.set()
        await asyncio.gather(*callers)
        return self.report

    async def caller(self, number: int) -> None:
        """Ask, check, ask again; step back for a moment when refused."""
        rng = random.Random(number)
        answered = False
        async with grpc.aio.insecure_channel(self.arguments.target, CHANNEL) as channel:
            stub = pb_grpc.ClassifierStub(channel)
            while not self.end.is_set():
                model = rng.choice(self.arguments.model)
                which = [rng.randrange(len(self.known[model].pngs)) for _ in range(rng.choice((1, 1, 1, 3)))]
                try:
                    await self.ask(stub, model, which)
                except grpc.aio.AioRpcError as error:
                    self.report.codes[error.code().name] += 1
                    self.report.says[error.code().name] = error.details() or ""
                    await asyncio.sleep(rng.uniform(0.01, 0.05))
                    continue
                if not answered:
                    answered = True
                    self.started += 1
                    if self.started == self.arguments.callers:
                        print("every caller was answered", flush=True)

    async def ask(self, stub: pb_grpc.ClassifierStub, model: str, which: list[int]) -> None:
        """One call."""
        known = self.known[model]
        images = [known.pngs[index] for index in which]
        sent = time.monotonic()
        response = await stub.Classify(
            pb.ClassifyRequest(model=model, images=images, logits=True), timeout=self.arguments.deadline
        )
        now = time.monotonic()
        logits = [result.logits for result in response.results]
        whole = [len(row) for row in logits] == [known.logits.shape[1]] * len(which)
        right = whole and bool(np.abs(np.array(logits) - known.logits[which]).max() <= known.tolerance)
        if not right and any(result.HasField("error") for result in response.results):
            self.report.codes["in the answer"] += 1
            self.report.says["in the answer"] = str([result.error.message for result in response.results])
            return
        self.report.right += right
        self.report.wrong += not right
        self.report.longest_gap = max(self.report.longest_gap, now - self.last)
        self.report.slowest = max(self.report.slowest, now - sent)
        self.last = now


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--target", required=True)
    parser.add_argument("--repository", type=Path, required=True)
    parser.add_argument("--model", action="append", required=True)
    parser.add_argument("--callers", type=int, required=True)
    parser.add_argument("--deadline", type=float, default=60.0)
    report = asyncio.run(Load(parser.parse_args()).run())
    print(json.dumps(vars(report)))


if __name__ == "__main__":
    main()
