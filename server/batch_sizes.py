"""How many events went into one frame: a histogram that costs an addition for each frame.

Prometheus' own takes a lock for each observation, and a thousand observers at
the head of one log are a thousand observations.
"""

from __future__ import annotations

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
        self._counts: dict[str, list[int]] = {}
        self._events: dict[str, int] = {}

    def add(self, transport: str, events: int) -> None:
        """One frame with so many events, at least one."""
        counts = self._counts.setdefault(transport, [0] * (_BUCKETS + 1))
        counts[min((events - 1).bit_length(), _BUCKETS)] += 1
        self._events[transport] = self._events.get(transport, 0) + events

    def collect(self) -> Iterator[Metric]:
        """See `Collector`."""
        family = HistogramMetricFamily(
            "watchglass_feed_batch_events", "Events in one frame, by transport.", labels=["transport"]
        )
        bounds = [*(str(float(1 << place)) for place in range(_BUCKETS)), "+Inf"]
        for transport, counts in self._counts.items():
            buckets = list(zip(bounds, map(float, accumulate(counts)), strict=True))
            family.add_metric([transport], buckets, sum_value=self._events[transport])
        yield family
