"""Answers and refusals of a running service, over gRPC."""

import io
import struct
import zlib

import numpy as np
import pytest
from google.rpc import code_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from PIL import Image

from resserve.v1 import classifier_pb2 as pb
from tests.support.service_process import Golden, Server, code_of, png

INVALID = code_pb2.INVALID_ARGUMENT


def bomb(side: int) -> bytes:
    """A PNG of some kilobytes that decodes to side x side pixels."""
    file = io.BytesIO()
    Image.new("1", (side, side)).save(file, "PNG")
    return file.getvalue()


def claims(width: int, height: int) -> bytes:
    """A PNG that says it is this large, and ends there."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))


def test_logits_are_pytorchs(service: Server, alpha: Golden, beta: Golden) -> None:
    """Each golden image, sent as a file, is answered with PyTorch's logits within the certificate's tolerance."""
    for name, golden in (("alpha", alpha), ("beta", beta)):
        for image, logits in zip(golden.pngs, golden.logits, strict=True):
            (result,) = service.classify(image, model=name, logits=True, top_k=3).results
            assert np.abs(np.array(result.logits) - logits).max() <= golden.tolerance
            probabilities = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
            best = np.argsort(-probabilities)[:3]
            assert [label.index for label in result.labels] == best.tolist()
            assert [label.name for label in result.labels] == [f"class {index}" for index in best]
            assert [label.probability for label in result.labels] == pytest.approx(probabilities[best], abs=1e-4)


def test_the_golden_answers_tell_images_apart(alpha: Golden, beta: Golden) -> None:
    """No two images have logits within the tolerance of each other's, so that a mix-up cannot pass for an answer."""
    for golden in (alpha, beta):
        apart = np.abs(golden.logits[:, None] - golden.logits[None]).max(axis=2)
        assert apart[~np.eye(len(apart), dtype=bool)].min() > 10 * golden.tolerance
    assert np.abs(alpha.logits - beta.logits).max(axis=1).min() > 10 * alpha.tolerance


def test_every_answer_says_where_it_comes_from(service: Server, alpha: Golden) -> None:
    """Model, version, architecture, precision, device, provider, and that it is untrained; the request's id."""
    response = service.classify(alpha.pngs[0], model="alpha", id="here & now")

    assert response.id == "here & now" and response.results[0].batch_size == 1
    assert response.model == pb.ServedModel(
        name="alpha",
        version=1,
        architecture="resnet20",
        precision="fp32",
        device="cpu",
        provider="CPUExecutionProvider",
        untrained=True,
    )


def test_a_bad_image_spoils_its_own_result_only(service: Server, alpha: Golden) -> None:
    """Among several images each bad one gets its error and each good one its answer, in the order of the request."""
    images = [
        alpha.pngs[0],
        b"no image",
        alpha.pngs[1],
        b"",
        claims(100_000, 100_000),
        alpha.pngs[2],
        alpha.pngs[3][:200],
    ]
    response = service.classify(*images, model="alpha", logits=True)
    codes = [result.error.code for result in response.results]

    assert codes == [0, INVALID, 0, INVALID, INVALID, 0, INVALID]
    for place, number in ((0, 0), (2, 1), (5, 2)):
        assert np.abs(np.array(response.results[place].logits) - alpha.logits[number]).max() <= alpha.tolerance
    assert all(result.error.message.endswith(".") for result in response.results if result.error.code)
    assert not any(result.labels for result in response.results if result.error.code)


@pytest.mark.parametrize(("top_k", "count"), [(0, 5), (1, 1), (9, 9), (10, 10), (11, 10), (2**32 - 1, 10)])
def test_top_k(service: Server, alpha: Golden, top_k: int, count: int) -> None:
    """As many classes as were asked for, at most all there are; 0 means 5; most probable first."""
    (result,) = service.classify(alpha.pngs[0], model="alpha", top_k=top_k).results
    probabilities = [label.probability for label in result.labels]

    assert len(probabilities) == count and probabilities == sorted(probabilities, reverse=True)
    assert count < 10 or sum(probabilities) == pytest.approx(1)
    assert not result.logits


@pytest.mark.parametrize(
    ("fields", "code", "says"),
    [
        ({"model": "gamma"}, "NOT_FOUND", "alpha, beta"),
        ({"model": "alpha", "version": 2}, "NOT_FOUND", "version 1"),
        ({"model": "alpha", "version": -1}, "NOT_FOUND", "version 1"),
        ({"model": "../alpha"}, "NOT_FOUND", "alpha, beta"),
        ({"model": "n" * 100_000}, "NOT_FOUND", "alpha, beta"),
        ({"model": "\0" * 100_000}, "NOT_FOUND", "alpha, beta"),
        ({"model": "\N{SNOWMAN}" * 100_000}, "NOT_FOUND", "alpha, beta"),
        ({}, "INVALID_ARGUMENT", "alpha, beta"),
        ({"model": "alpha", "images": [b""] * 257}, "INVALID_ARGUMENT", "more than 256 images"),
        ({"model": "alpha", "images": []}, "INVALID_ARGUMENT", "no image"),
        ({"model": "alpha", "images": [b""]}, "INVALID_ARGUMENT", "empty"),
        ({"model": "alpha", "images": [b"GIF89a"]}, "INVALID_ARGUMENT", "corrupt or truncated"),
        ({"model": "alpha", "images": [b"%PDF-1.7"]}, "INVALID_ARGUMENT", "PDF"),
        ({"model": "alpha", "images": [b"\xff\xd8\xff" + bytes(21 * 2**20)]}, "INVALID_ARGUMENT", "20,971,520"),
        ({"model": "alpha", "images": [claims(10_000, 5_001)]}, "INVALID_ARGUMENT", "50,000,000"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_wrong_with_a_request_is_said(service: Server, alpha: Golden, fields, code, says) -> None:
    """The status code is the table's, and the sentence names what is wrong or what there is."""
    images = fields.pop("images", [alpha.pngs[0]])
    found, message = code_of(lambda: service.classify(*images, **fields))

    assert found == code and says in message


def test_an_unknown_priority_is_a_normal_one(service: Server, alpha: Golden) -> None:
    """A newer client's priority is no reason to refuse it."""
    for priority in (pb.PRIORITY_LOW, pb.PRIORITY_HIGH, 17):
        assert len(service.classify(alpha.pngs[0], model="alpha", priority=priority).results) == 1


def test_a_decode_bomb_is_refused_by_its_header(service: Server, alpha: Golden) -> None:
    """144 megapixels in 18 kB are not decoded: neither the time nor the memory that they would take is spent."""
    rss, data = max(process.memory_info().rss for process in service.everyone()), bomb(12_000)
    for _ in range(20):
        code, message = code_of(lambda: service.classify(data, model="alpha"))
        assert code == "INVALID_ARGUMENT" and "12000 x 12000" in message
    after = max(process.memory_info().rss for process in service.everyone())

    assert after - rss < 50 * 2**20
    assert service.classify(alpha.pngs[0], model="alpha").results[0].labels


def test_a_request_of_as_many_images_as_are_accepted(service: Server, alpha: Golden) -> None:
    """Each of 256 is answered."""
    response = service.classify(*[alpha.pngs[number % 8] for number in range(256)], model="alpha", logits=True)
    for number, result in enumerate(response.results):
        assert np.abs(np.array(result.logits) - alpha.logits[number % 8]).max() <= alpha.tolerance


def test_a_million_empty_images_are_refused_as_one(service: Server, alpha: Golden) -> None:
    """Two bytes each in the message, a kilobyte and more each in the service if it took care of them one by one."""
    rss, ends = max(process.memory_info().rss for process in service.everyone()), service.events("worker ended")
    code, message = code_of(lambda: service.classify(*[b""] * 10**6, model="alpha"))
    (answer,) = service.stream([pb.ClassifyRequest(model="alpha", images=[b""] * 10**6)]).values()
    after = max(process.memory_info().rss for process in service.everyone())

    assert code == "INVALID_ARGUMENT" and "more than 256 images" in message == answer.error.message
    assert after - rss < 100 * 2**20 and service.events("worker ended") == ends
    assert service.classify(alpha.pngs[0], model="alpha").results[0].labels


def test_a_large_image_within_the_limits_is_answered(service: Server) -> None:
    """49 megapixels are."""
    assert service.classify(bomb(7_000), model="alpha", timeout=120).results[0].labels


def test_a_message_over_the_limit_is_refused(service: Server) -> None:
    """More than 64 MiB in one message break the call and nothing else."""
    code, _ = code_of(lambda: service.classify(*[bytes(13 * 2**20)] * 5, model="alpha"))

    assert code == "RESOURCE_EXHAUSTED"
    assert service.health("") == "SERVING"


def test_a_stream_answers_each_request_by_its_id(service: Server, alpha: Golden) -> None:
    """Every request of a stream is answered once, by its id; a bad one gets its error while the stream goes on."""
    good = [
        pb.ClassifyRequest(id=f"good {n}", model="alpha", images=[alpha.pngs[n % 8]], logits=True) for n in range(300)
    ]
    bad = [
        pb.ClassifyRequest(id="unknown", model="gamma", images=[alpha.pngs[0]]),
        pb.ClassifyRequest(id="none", model="alpha"),
        pb.ClassifyRequest(id="broken", model="alpha", images=[b"?"]),
    ]
    answers = service.stream([*good[:150], *bad, *good[150:]])

    assert len(answers) == 303
    for number in range(300):
        (result,) = answers[f"good {number}"].results
        assert np.abs(np.array(result.logits) - alpha.logits[number % 8]).max() <= alpha.tolerance
    assert answers["unknown"].error.code == code_pb2.NOT_FOUND
    assert answers["none"].error.code == answers["broken"].error.code == INVALID


def test_models_are_listed(service: Server) -> None:
    """Each model with its state, size, input, labels and plan."""
    models = {status.model.name: status for status in service.stub.ListModels(pb.ListModelsRequest()).models}

    assert set(models) == {"alpha", "beta"}
    for status in models.values():
        assert status.state == pb.MODEL_STATE_READY and not status.reason
        assert (status.input_height, status.input_width, len(status.labels)) == (32, 32, 10)
        assert 250_000 < status.parameters < 300_000 and status.multiply_adds > 40_000_000
        assert "lanes" in status.plan


def test_the_four_services_are_reflected(service: Server) -> None:
    """A tool like grpcurl finds the classifier and health, and their descriptions."""
    stub = reflection_pb2_grpc.ServerReflectionStub(service.channel)
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="resserve.v1.Classifier"),
    ]
    listed, described = stub.ServerReflectionInfo(iter(requests), timeout=30)

    assert {entry.name for entry in listed.list_services_response.service} == {
        "resserve.v1.Classifier",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    assert b"ClassifyRequest" in described.file_descriptor_response.file_descriptor_proto[0]


def test_what_is_not_offered_is_unimplemented(service: Server) -> None:
    """A method that does not exist has its own code."""
    call = service.channel.unary_unary("/resserve.v1.Classifier/Train")

    assert code_of(lambda: call(b"", timeout=30))[0] == "UNIMPLEMENTED"


def test_garbage_instead_of_a_message_breaks_its_call_only(service: Server, alpha: Golden) -> None:
    """Bytes that are no ClassifyRequest fail that call."""
    call = service.channel.unary_unary("/resserve.v1.Classifier/Classify")

    code, message = code_of(lambda: call(b"\xff" * 100, timeout=30))

    assert code == "INVALID_ARGUMENT" and ".proto" in message
    stream = service.channel.stream_stream("/resserve.v1.Classifier/ClassifyStream")
    good = pb.ClassifyRequest(model="alpha", images=alpha.pngs[:1]).SerializeToString()
    assert code_of(lambda: list(stream(iter([good, b"\xff" * 100]), timeout=30))) == (code, message)
    assert not service.events("rpc failed")
    assert service.classify(alpha.pngs[0], model="alpha").results[0].labels


def test_a_call_that_ends_without_a_message_is_told_so(service: Server) -> None:
    """Whoever promises one message and sends none waits for nothing."""
    call = service.channel.stream_unary("/resserve.v1.Classifier/Classify")

    assert code_of(lambda: call(iter(()), timeout=30)) == ("CANCELLED", "The call ended before its message had come.")


def test_grey_and_odd_sizes_are_answered(service: Server) -> None:
    """One pixel, one row, grey, and much wider than tall: all become the model's input."""
    for shape in ((1, 1, 3), (1, 300, 3), (300, 1, 3), (37, 37)):
        assert service.classify(png(np.zeros(shape, np.uint8)), model="alpha").results[0].labels
