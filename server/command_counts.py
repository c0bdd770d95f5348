"""How many commands of sessions were answered, by method and status: an addition for each of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

UNKNOWN_METHOD = "(none)"


class CommandCounts(Collector):
    """Both labels have a closed set of values."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, int]] = Counter()

    def add(self, method: str, status: int) -> None:
        """One answer; `method` is one that there is."""
        self._counts[method, status] += 1

    def collect(self) -> Iterator[Metric]:
        """See `Collector`."""
        family = CounterMetricFamily(
            "watchglass_session_commands",
            "Commands of sessions that were answered, by method and status.",
            labels=["method", "status"],
        )
        for (method, status), count in self._counts.items():
            family.add_metric([method, str(status)], count)
        yield family
