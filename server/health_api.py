"""`/healthz`, `/readyz`, `/metrics`: for whoever keeps the server running."""

from __future__ import annotations

from quart import Blueprint, Response, current_app
from quart_schema import document_response

from watchglass.protocol.errors import RuntimeStopped, StoreFault, StoreIo, StoreMissing
from watchglass.protocol.runtime import HealthAnswer, ReadyAnswer

from . import runtime_operations as operations
from .errors import error_body, error_headers
from .exchange import answer, refuses, the_runtime
from .metrics import CONTENT_TYPE, Metrics
from .observers import the_observers

METRICS_KEY = "watchglass.metrics"

health_api = Blueprint("health", __name__)


@health_api.get("/healthz")
@document_response(HealthAnswer)
async def healthz() -> Response:
    """Say that the process answers."""
    return answer(operations.show_health())


@health_api.get("/readyz")
@document_response(ReadyAnswer)
@refuses(RuntimeStopped, StoreIo, StoreMissing)
async def readyz() -> Response:
    """Say whether work is taken: the store is really written to. Refusals are 503 here."""
    try:
        return answer(await operations.check_ready(the_runtime()))
    except (RuntimeStopped, StoreFault) as fault:
        return Response(error_body(fault), 503, headers=error_headers(fault))


@health_api.get("/metrics")
async def show_metrics() -> Response:
    """Show counters and gauges in Prometheus' text format."""
    metrics = current_app.extensions[METRICS_KEY]
    assert isinstance(metrics, Metrics)
    slowest = await the_observers().slowest()
    return Response(metrics.exposition(slowest), content_type=CONTENT_TYPE)
