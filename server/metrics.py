"""Prometheus metrics, in a registry of our own.

Numbers of workers are read from the runtime when somebody asks; numbers of
connections are counted here. Every label has a closed set of values, so no
request can make these grow.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from itertools import accumulate

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from watchglass.protocol.lifecycle import ENDED
from watchglass.protocol.runtime import TenantResources
from watchglass.protocol.tasks import FINISHED, TaskErrorCode, TaskStatus
from watchglass.runtime import Runtime
from watchglass.runtime.task_tally import DURATION_BUCKETS_MS, TaskTally

from .batch_sizes import BatchSizes
from .command_counts import CommandCounts

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
UNKNOWN_ROUTE = "(none)"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Transport(StrEnum):
    """How a feed comes to its observer."""

    WEBSOCKET_V1 = "websocket_v1"
    WEBSOCKET_V2 = "websocket_v2"
    SSE = "sse"
    LONG_POLL = "long_poll"
    SESSION = "session"


class Metrics:
    """What one server counts."""

    def __init__(self, runtime: Runtime) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_RuntimeCollector(runtime))
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        self._requests = Counter(
            "watchglass_http_requests",
            "HTTP requests answered, refused WebSocket upgrades among them.",
            ["method", "route", "status"],
            registry=self._registry,
        )
        self._request_s = Histogram(
            "watchglass_http_request_duration_seconds",
            "From the request's head to the end of its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._feeds_open = Gauge(
            "watchglass_feeds_open", "Feeds that are open, whatever their transport.", registry=self._registry
        )
        self._feeds_closed = Counter(
            "watchglass_feeds_closed",
            "Feeds that ended, by the diagnostic sent, or ended, answered, client_closed, stalled.",
            ["reason"],
            registry=self._registry,
        )
        self._feed_frames = Counter(
            "watchglass_feed_frames",
            "Frames sent to observers, by transport.",
            ["transport"],
            registry=self._registry,
        )
        self._feed_bytes = Counter(
            "watchglass_feed_bytes", "Their bytes.", ["transport"], registry=self._registry
        )
        self._feed_resets = Counter(
            "watchglass_feed_resets",
            "Cursors that could not be honoured, by reason, where the reader went on with a snapshot.",
            ["reason"],
            registry=self._registry,
        )
        self._sessions_open = Gauge(
            "watchglass_sessions_open", "Sessions that are open.", registry=self._registry
        )
        self.commands = CommandCounts()
        self._registry.register(self.commands)
        self._batch_sizes = BatchSizes()
        self._registry.register(self._batch_sizes)

    def request_answered(self, method: str, route: str, status: int, duration_s: float) -> None:
        """Count one request; `route` is a template, never a path."""
        known = method if method in _METHODS else "OTHER"
        self._requests.labels(known, route, str(status)).inc()
        self._request_s.labels(route).observe(duration_s)

    def feed_opened(self) -> None:
        """One more observer."""
        self._feeds_open.inc()

    def feed_closed(self, reason: str) -> None:
        """One less."""
        self._feeds_open.dec()
        self._feeds_closed.labels(reason).inc()

    def session_opened(self) -> None:
        """One more backend."""
        self._sessions_open.inc()

    def session_closed(self) -> None:
        """One less."""
        self._sessions_open.dec()

    def feed_sent(self, transport: Transport, frames: int, size_bytes: int) -> None:
        """Count what is on its way to an observer."""
        self._feed_frames.labels(transport).inc(frames)
        self._feed_bytes.labels(transport).inc(size_bytes)

    def batch_sent(self, transport: Transport, events: int) -> None:
        """Count one frame that has so many events."""
        self._batch_sizes.add(transport, events)

    def feed_reset(self, reason: str) -> None:
        """A reader had to start over."""
        self._feed_resets.labels(reason).inc()

    def exposition(self) -> bytes:
        """Everything, as Prometheus reads it."""
        return generate_latest(self._registry)


class _RuntimeCollector(Collector):
    """What the runtime knows of itself, read when asked."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def collect(self) -> Iterator[Metric]:
        yield from self._gauges()
        yield from self._counters()
        yield from self._tasks()

    def _gauges(self) -> Iterator[Metric]:
        summary = self._runtime.summary()
        workers = GaugeMetricFamily(
            "watchglass_workers", "Workers in the catalog, by the contract's status.", labels=["status"]
        )
        workers.add_metric(["running"], summary.active_worker_count)
        workers.add_metric(["stopped"], summary.stopped_worker_count)
        workers.add_metric(["cancelled"], summary.cancelled_worker_count)
        yield workers
        yield from self._resources()
        for name, help_text, value in (
            ("workers_waiting", "Workers that wait for room.", summary.waiting_worker_count),
            ("slots_capacity", "Processes that may run at once.", summary.capacity.task_slots),
            ("slots_reserved", "Slots that are taken.", summary.reserved.task_slots),
            ("observers", "Readers of workers' journals.", summary.observer_count),
            ("runtime_running", "1 while changes are taken.", int(summary.status == "running")),
        ):
            yield GaugeMetricFamily(f"watchglass_{name}", help_text, value=value)
        yield GaugeMetricFamily(
            "watchglass_start_time_seconds", "When the runtime started.", value=self._runtime.started_us / 1e6
        )

    def _resources(self) -> Iterator[Metric]:
        """What is accounted; of tenants those with a quota, for anybody can name another one."""
        told = self._runtime.resources()
        for name, help_text, amounts in (
            ("capacity", "What all workers together may reserve.", told.capacity),
            ("reserved", "What running workers reserve.", told.reserved),
            ("waiting", "What waiting workers ask for, together.", told.waiting),
        ):
            family = GaugeMetricFamily(f"watchglass_resource_{name}", help_text, labels=["resource"])
            for resource, amount in amounts.model_dump(exclude_none=True).items():
                family.add_metric([resource], amount)
            yield family
        yield from self._tenants([tenant for tenant in told.tenants if tenant.quota is not None])

    def _tenants(self, tenants: list[TenantResources]) -> Iterator[Metric]:
        labels = ["tenant", "resource"]
        quota = GaugeMetricFamily("watchglass_tenant_quota", "What a tenant may reserve.", labels=labels)
        reserved = GaugeMetricFamily("watchglass_tenant_reserved", "What it reserves.", labels=labels)
        waiting = GaugeMetricFamily(
            "watchglass_tenant_workers_waiting", "Workers of it that wait.", labels=["tenant"]
        )
        for tenant in tenants:
            assert tenant.quota is not None
            for resource, amount in tenant.quota.model_dump(exclude_none=True).items():
                quota.add_metric([tenant.tenant, resource], amount)
                reserved.add_metric([tenant.tenant, resource], getattr(tenant.reserved, resource) or 0)
            waiting.add_metric([tenant.tenant], tenant.waiting_worker_count)
        yield from (quota, reserved, waiting)

    def _counters(self) -> Iterator[Metric]:
        tally = self._runtime.tally
        for name, help_text, value in (
            ("workers_created", "Workers created.", tally.workers_created),
            ("launches_failed", "Processes that could not be started.", tally.launches_failed),
            ("inputs_accepted", "Inputs accepted.", tally.inputs_accepted),
            ("inputs_refused", "Inputs refused for a full backlog.", tally.inputs_refused),
            ("events_appended", "Events appended to journals.", tally.events_appended),
            ("event_bytes_appended", "Their bytes.", tally.event_bytes_appended),
        ):
            yield CounterMetricFamily(f"watchglass_{name}", help_text, value=value)
        ended = CounterMetricFamily("watchglass_workers_ended", "Workers that ended.", labels=["phase"])
        for phase in sorted(ENDED):
            ended.add_metric([phase], tally.workers_ended[phase])
        yield ended

    def _tasks(self) -> Iterator[Metric]:
        """In the task contract's names."""
        tally = self._runtime.tasks.tally
        statuses = CounterMetricFamily(
            "execgo_runtime_tasks", "Tasks that came to a status since the start.", labels=["status"]
        )
        for status in (TaskStatus.ACCEPTED, *sorted(FINISHED)):
            statuses.add_metric([status], tally.statuses[status])
        yield statuses
        yield GaugeMetricFamily(
            "execgo_runtime_tasks_running", "Tasks with a process.", value=self._runtime.tasks.running_count
        )
        errors = CounterMetricFamily(
            "execgo_runtime_task_errors", "Finished tasks that are no success.", labels=["code"]
        )
        for code in TaskErrorCode:
            errors.add_metric([code], tally.errors[code])
        yield errors
        yield _task_durations(tally)


def _task_durations(tally: TaskTally) -> Metric:
    bounds = [*map(str, DURATION_BUCKETS_MS), "+Inf"]
    return HistogramMetricFamily(
        "execgo_runtime_task_duration_ms",
        "From the start of a task's process to its end.",
        buckets=list(zip(bounds, accumulate(tally.durations), strict=True)),
        sum_value=tally.duration_sum_ms,
    )
