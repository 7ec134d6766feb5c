"""Made-up predictions."""

from hypothesis import strategies as st

from service.latency import LatencyModel


def latency(*, lanes: int = 2, max_batch: int = 1, run: float = 0.1, decode: float = 0.01) -> LatencyModel:
    """A pace that believes in runs of `run` seconds an image."""
    runs = {size: run * size for size in (1, 2, 4)}
    return LatencyModel(lanes=lanes, max_batch=max_batch, runs=runs, solo=run * 0.7, decode=decode, decoders=2)


latencies = st.builds(
    latency,
    lanes=st.integers(1, 4),
    max_batch=st.sampled_from((1, 2, 4)),
    run=st.floats(0.001, 0.3),
    decode=st.floats(0.0005, 0.1),
)
