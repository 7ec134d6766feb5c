"""What a running service tells of itself: timings, metrics, health."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from resserve.v1 import classifier_pb2 as pb
from tests.support.encoded_images import encode, photo
from tests.support.service_process import Golden, Server, code_of

STAGES = ("decode", "queue", "compute", "respond")


def test_timings_add_up_and_agree_with_the_metrics(service: Server, alpha: Golden) -> None:
    """Of 1,000 requests: stages make up the total, the caller waited at least that long, and /metrics has the sums."""
    before = {stage: service.metric("resserve_stage_seconds_sum", model="alpha", stage=stage) for stage in STAGES}
    before_total = service.metric("resserve_request_seconds_sum", model="alpha", code="OK")
    before_count = service.metric("resserve_request_seconds_count", model="alpha", code="OK")

    def ask(number: int) -> tuple[pb.Timings, float]:
        sent = time.monotonic()
        timings = service.classify(alpha.pngs[number % 8], model="alpha").timings
        return timings, time.monotonic() - sent

    with ThreadPoolExecutor(4) as callers:
        answers = list(callers.map(ask, range(1000)))
    sums = {stage: sum(getattr(timings, stage) for timings, _ in answers) for stage in STAGES}

    for timings, measured in answers:
        stages = [getattr(timings, stage) for stage in STAGES]
        assert min(stages) >= -1e-9 and sum(stages) == pytest.approx(timings.total, rel=0.01)
        assert measured >= timings.total
    for stage in STAGES:
        found = service.metric("resserve_stage_seconds_sum", model="alpha", stage=stage) - before[stage]
        assert found == pytest.approx(sums[stage], rel=1e-6, abs=1e-6)
    total = service.metric("resserve_request_seconds_sum", model="alpha", code="OK") - before_total
    assert total == pytest.approx(sum(timings.total for timings, _ in answers), rel=1e-6)
    assert service.metric("resserve_request_seconds_count", model="alpha", code="OK") - before_count == 1000


def test_runs_and_images_are_counted(service: Server, alpha: Golden) -> None:
    """Each image once, in batches whose sizes add up to them."""
    names = ("resserve_images_total", "resserve_batch_images_sum")
    before = [service.metric(name, model="alpha") for name in names]
    service.classify(*alpha.pngs, b"broken", model="alpha")

    assert [service.metric(name, model="alpha") - old for name, old in zip(names, before, strict=True)] == [8, 8]
    assert service.metric("resserve_queue_images") == service.metric("resserve_in_service_images") == 0


def test_mended_images_are_counted(service: Server) -> None:
    """A JPEG that lacks its last two bytes is answered, and the operator can see that someone sends such files."""
    whole = encode(photo((64, 48)), "JPEG")
    before = service.metric("resserve_mended_images_total", model="alpha")
    answered = [service.classify(data, model="alpha", logits=True).results[0] for data in (whole, whole[:-2])]

    assert list(answered[0].logits) == list(answered[1].logits)
    assert service.metric("resserve_mended_images_total", model="alpha") == before + 1


def test_every_refusal_is_counted_with_its_reason(service: Server, alpha: Golden) -> None:
    """What is not answered stands in resserve_rejected_total, once for each image or request, by why."""
    good = alpha.pngs[0]
    refused = [
        ("invalid", "alpha", [b"?"], {"model": "alpha"}),
        ("invalid", "alpha", [], {"model": "alpha"}),
        ("invalid", "", [good], {}),
        ("too_large", "alpha", [b"\x89PNG\r\n\x1a\n" + bytes(20 * 2**20)], {"model": "alpha"}),
        ("unknown_model", "", [good], {"model": "gamma"}),
        ("unknown_model", "", [good], {"model": "alpha", "version": 9}),
    ]
    for reason, model, images, fields in refused:
        before = service.metric("resserve_rejected_total", model=model, reason=reason)
        code_of(lambda images=images, fields=fields: service.classify(*images, **fields))
        assert service.metric("resserve_rejected_total", model=model, reason=reason) == before + 1


def test_who_gives_up_is_not_who_ran_out_of_time(serve, repository, beta: Golden) -> None:
    """A caller's cancel and a caller's deadline are counted apart, as reasons, as codes of requests and of RPCs."""
    server = serve(repository, "--model", "beta")
    (worker,) = server.workers()
    worker.suspend()
    try:
        expiring = server.stub.Classify.future(pb.ClassifyRequest(images=[beta.pngs[0]]), timeout=0.5)
        leaving = server.stub.Classify.future(pb.ClassifyRequest(images=[beta.pngs[1]]), timeout=60)
        with pytest.raises(grpc.RpcError, match="DEADLINE_EXCEEDED"):
            expiring.result()
        leaving.cancel()
        time.sleep(0.2)
    finally:
        worker.resume()
    for reason, code in (("expired", "DEADLINE_EXCEEDED"), ("cancelled", "CANCELLED")):
        assert server.metric("resserve_rejected_total", model="beta", reason=reason) == 1
        assert server.metric("resserve_request_seconds_count", model="beta", code=code) == 1
        assert server.metric("grpc_server_handled_total", grpc_method="Classify", grpc_code=code) == 1


def test_callers_cannot_make_series(service: Server, alpha: Golden) -> None:
    """Whatever names, ids, versions and methods callers send, the set of series stays as it is."""
    service.classify(alpha.pngs[0], model="alpha")
    code_of(lambda: service.classify(alpha.pngs[0], model="gamma"))

    def series() -> Counter:
        return Counter((name, *sorted(labels.items())) for name, labels, _ in service.samples())

    before = series()
    for number in range(200):
        code_of(lambda n=number: service.classify(alpha.pngs[0], model=f"model {n}"))
        code_of(lambda n=number: service.classify(alpha.pngs[0], model="alpha", version=n + 2))
        call = service.channel.unary_unary(f"/resserve.v1.Classifier/Method{number}")
        code_of(lambda call=call: call(b"", timeout=30))
        service.classify(alpha.pngs[0], model="alpha", id=f"id {number}", top_k=number)
        service.health(f"service {number}")
        service.get(f"/path/{number}")

    new = {series[0] for series in series() - before}
    assert series() == before or new <= {
        "grpc_server_handled_total",
        "grpc_server_handling_seconds_bucket",
        "grpc_server_handling_seconds_count",
        "grpc_server_handling_seconds_sum",
    }
    assert sum((series() - before).values()) < 40  # health's Check, with its codes, once


def test_every_rpc_is_counted_by_its_code(service: Server, alpha: Golden) -> None:
    """grpc_server_handled_total and the handling histogram have every call of every service."""

    def handled(code: str) -> float:
        return service.metric("grpc_server_handled_total", grpc_method="Classify", grpc_code=code)

    before = {code: handled(code) for code in ("OK", "NOT_FOUND", "INVALID_ARGUMENT")}
    seconds = service.metric("grpc_server_handling_seconds_count", grpc_method="Classify")
    for _ in range(3):
        service.classify(alpha.pngs[0], model="alpha")
        code_of(lambda: service.classify(alpha.pngs[0], model="gamma"))
        code_of(lambda: service.classify(b"?", model="alpha"))

    assert {code: handled(code) - value for code, value in before.items()} == dict.fromkeys(before, 3)
    assert service.metric("grpc_server_handling_seconds_count", grpc_method="Classify") == seconds + 9


def test_models_are_described_in_the_metrics(service: Server) -> None:
    """State, provider and size of each model; the memory of its worker."""
    for name in ("alpha", "beta"):
        (info,) = service.samples("resserve_model_info", model=name)
        assert info[1]["state"] == "READY" and info[1]["provider"] == "CPUExecutionProvider"
        assert service.metric("resserve_model_state", model=name, state="READY") == 1
        assert service.metric("resserve_model_state", model=name, state="FAILED") == 0
        assert service.metric("resserve_model_parameters", model=name) > 250_000
        assert service.metric("resserve_worker_memory_bytes", model=name) > 10 * 2**20
    assert service.metric("resserve_worker_restarts_total") == 0


def test_health_knows_the_service_and_each_model(service: Server) -> None:
    """Check answers for "", the classifier and each model; what it does not know is NOT_FOUND; Watch says so."""
    for name in ("", "resserve.v1.Classifier", "alpha", "beta"):
        assert service.health(name) == "SERVING"
        assert next(service.watch(name)) == "SERVING"
    assert service.health("gamma") == "NOT_FOUND"
    assert next(service.watch("gamma")) == "SERVICE_UNKNOWN"


def test_health_over_http(service: Server) -> None:
    """/livez and /readyz, with the state of each model."""
    assert service.get("/livez")[0] == 200
    status, body = service.get("/readyz")
    assert status == 200 and '"alpha":{"state":"READY"' in body and '"beta":{"state":"READY"' in body
