"""The bounds of the latency histograms, as an operator sets them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from resserve.errors import ResServeError
from service.settings import load_settings
from tests.support.service_process import Golden, Server, wait_until


@pytest.mark.parametrize("written", ["0.05,0.5", " 0.05, 0.5 ", "[0.05, 0.5]"])
def test_bounds_are_read_as_list_and_as_json(written: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment may have `a,b` or JSON; resserve.toml has a list; the environment wins."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "resserve.toml").write_text("latency_buckets = [1, 2.5]\n")
    assert load_settings().latency_buckets == (1.0, 2.5)
    monkeypatch.setenv("RESSERVE_LATENCY_BUCKETS", written)

    assert load_settings().latency_buckets == (0.05, 0.5)


@pytest.mark.parametrize("wrong", ["[]", "fast", "0.5,0.1", "1,1", "0,1", "-1,1", "nan", "1,inf", "1," * 100 + "1"])
def test_other_bounds_are_refused(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no ascending list of at most 100 positive numbers gets one sentence with an example."""
    monkeypatch.setenv("RESSERVE_LATENCY_BUCKETS", wrong)

    with pytest.raises(ResServeError) as refusal:
        load_settings()

    assert str(refusal.value).endswith(
        f" = {wrong!r} is not allowed: give 1 to 100 numbers of seconds, each above the one before, such as 0.1,0.5,1."
    )


def test_all_frontends_have_the_bounds(serve: Callable[..., Server], repository: Path, alpha: Golden) -> None:
    """Every latency histogram of two frontends has the bounds that were set, and no other."""
    server = serve(
        repository, "--model", "alpha", "--frontends", "2", RESSERVE_LATENCY_BUCKETS="0.05,0.5", RESSERVE_DEVICE="cpu"
    )
    server.classify(alpha.pngs[0])
    wait_until(lambda: server.frontends(), "there is a second frontend")

    for name in ("resserve_request_seconds", "resserve_stage_seconds", "grpc_server_handling_seconds"):
        assert {labels["le"] for _, labels, _ in server.samples(f"{name}_bucket")} == {"0.05", "0.5", "+Inf"}
