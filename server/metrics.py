"""Prometheus metrics, in a registry of our own.

Numbers of workers are read from the runtime when somebody asks; numbers of
connections are counted here. Every label has a closed set of values, so no
request can make these grow.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import (
    CollectorRegistry,
    Counter,
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
from watchglass.runtime.lag import Lag
from watchglass.runtime.task_tally import DURATION_BUCKETS_MS, TaskTally

from .feed_metrics import FeedMetrics
from .open_feeds import OpenFeeds
from .open_feeds import Transport as Transport

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
UNKNOWN_ROUTE = "(none)"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """What one server counts."""

    def __init__(self, runtime: Runtime, feeds: OpenFeeds) -> None:
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
        self.feeds = FeedMetrics(feeds)
        self._registry.register(self.feeds)

    def request_answered(self, method: str, route: str, status: int, duration_s: float) -> None:
        """Count one request; `route` is a template, never a path."""
        known = method if method in _METHODS else "OTHER"
        self._requests.labels(known, route, str(status)).inc()
        self._request_s.labels(route).observe(duration_s)

    def feed_reset(self, reason: str) -> None:
        """A reader had to start over."""
        self.feeds.reset(reason)

    def exposition(self, slowest: Lag) -> bytes:
        """Everything, as Prometheus reads it; `slowest` is the most of all open feeds."""
        self.feeds.slowest = slowest
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
        yield GaugeMetricFamily(
            "watchglass_egress_connections_open",
            "Connections of workers that their proxies serve.",
            value=self._runtime.gateway.open,
        )
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
        tally, passed = self._runtime.tally, self._runtime.gateway.passed
        for name, help_text, value in (
            ("workers_created", "Workers created.", tally.workers_created),
            ("launches_failed", "Processes that could not be started.", tally.launches_failed),
            ("inputs_accepted", "Inputs accepted.", tally.inputs_accepted),
            ("inputs_refused", "Inputs refused for a full backlog.", tally.inputs_refused),
            ("events_appended", "Events appended to journals.", tally.events_appended),
            ("event_bytes_appended", "Their bytes.", tally.event_bytes_appended),
            ("egress_connections", "Connections of workers to listed places.", passed.connections),
            ("egress_sent_bytes", "What workers sent there.", passed.sent_bytes),
            ("egress_received_bytes", "What came back.", passed.received_bytes),
            ("egress_denied", "Connections and requests that were refused.", passed.denied),
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
