"""Sizes of batches as Prometheus reads them: cumulative, by powers of two."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from watchglass.server.batch_sizes import BatchSizes


def sample(sizes: BatchSizes, suffix: str, **labels: str) -> float:
    (family,) = sizes.collect()
    (found,) = [
        each.value
        for each in family.samples
        if each.name.endswith(suffix) and labels.items() <= each.labels.items()
    ]
    return found


@given(frames=st.lists(st.integers(1, 2000), min_size=1), bound=st.sampled_from([1 << n for n in range(10)]))
def test_a_bucket_has_the_frames_with_at_most_so_many_events(frames: list[int], bound: int) -> None:
    sizes = BatchSizes()
    for events in frames:
        sizes.add("sse", events)
    assert sample(sizes, "_bucket", le=str(float(bound))) == sum(events <= bound for events in frames)
    assert sample(sizes, "_count") == sample(sizes, "_bucket", le="+Inf") == len(frames)
    assert sample(sizes, "_sum") == sum(frames)


def test_transports_are_counted_apart() -> None:
    sizes = BatchSizes()
    sizes.add("sse", 3)
    sizes.add("websocket_v2", 5)
    assert [sample(sizes, "_sum", transport=each) for each in ("sse", "websocket_v2")] == [3, 5]
