"""What `/metrics` says of feeds: read from `open_feeds` when somebody asks, so that no send pays for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from watchglass.runtime.lag import Lag

from .open_feeds import OpenFeeds, Transport


class FeedMetrics(Collector):
    """Counts of feeds by transport and reason, and how far behind the slowest is."""

    def __init__(self, feeds: OpenFeeds) -> None:
        self._feeds = feeds
        self._resets: Counter[str] = Counter()
        self.slowest = Lag()
        """Set by who asks, right before: to find it may wait, and collecting may not."""

    def reset(self, reason: str) -> None:
        """A reader had to start over."""
        self._resets[reason] += 1

    def collect(self) -> Iterator[Metric]:
        """See `Collector`."""
        yield self._open()
        yield from self._sent()
        yield from self._lag()
        closed = CounterMetricFamily(
            "watchglass_feeds_closed",
            "Feeds that ended, by the diagnostic sent, or ended, answered, client_closed, stalled.",
            labels=["reason"],
        )
        for reason, count in sorted(self._feeds.closed.items()):
            closed.add_metric([reason], count)
        yield closed
        resets = CounterMetricFamily(
            "watchglass_feed_resets",
            "Cursors that could not be honoured, by reason, where the reader went on with a snapshot.",
            labels=["reason"],
        )
        for reason, count in sorted(self._resets.items()):
            resets.add_metric([reason], count)
        yield resets
        yield from self._feeds.batch_sizes.collect()

    def _open(self) -> Metric:
        family = GaugeMetricFamily("watchglass_feeds_open", "Feeds that are open.", labels=["transport"])
        count = self._feeds.open_count()
        for transport in Transport:
            family.add_metric([transport], count[transport])
        return family

    def _sent(self) -> Iterator[Metric]:
        sent = self._feeds.sent()
        for name, help_text, attribute in (
            ("frames", "Frames sent to observers, by transport.", "frames"),
            ("events", "Events in them.", "events"),
            ("bytes", "Their bytes.", "size_bytes"),
        ):
            family = CounterMetricFamily(f"watchglass_feed_{name}", help_text, labels=["transport"])
            for transport, amounts in sorted(sent.items()):
                family.add_metric([transport], getattr(amounts, attribute))
            yield family

    def _lag(self) -> Iterator[Metric]:
        for name, help_text, value in (
            ("events", "Events that the feed with the most of them has yet to send.", self.slowest.events),
            ("seconds", "Age of the oldest event that a feed has yet to send.", self.slowest.age_s),
        ):
            yield GaugeMetricFamily(f"watchglass_feed_lag_{name}", help_text, value=value)
