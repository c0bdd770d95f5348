"""How many events went into one frame: a histogram that costs an addition for each frame.

Prometheus' own takes a lock for each observation, and a thousand observers at
the head of one log are a thousand observations.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

_BUCKETS: Final = 10
"""Up to 1, 2, 4, … 512 events."""


class BatchSizes(Collector):
    """Counted by transport."""

    def __init__(self) -> None:
        self._counts = defaultdict[str, Counter[int]](Counter)

    def add(self, transport: str, events: int) -> None:
        """One frame with so many events, at least one."""
        self._counts[transport][events] += 1

    def collect(self) -> Iterator[Metric]:
        """See `Collector`; only here is it a histogram."""
        family = HistogramMetricFamily(
            "watchglass_feed_batch_events", "Events in one frame, by transport.", labels=["transport"]
        )
        bounds = [*(str(float(1 << place)) for place in range(_BUCKETS)), "+Inf"]
        for transport, frames in self._counts.items():
            counts = [0] * (_BUCKETS + 1)
            for events, count in frames.items():
                counts[min((events - 1).bit_length(), _BUCKETS)] += count
            buckets = list(zip(bounds, map(float, accumulate(counts)), strict=True))
            total = sum(events * count for events, count in frames.items())
            family.add_metric([transport], buckets, sum_value=total)
        yield family
