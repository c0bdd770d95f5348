"""`/v1/runtime/capabilities`, its probe, and `/v1/plan`: what a worker would get, before there is one."""

from __future__ import annotations

from quart import Blueprint, Response
from quart_schema import document_request, document_response

from watchglass.protocol.capabilities import CapabilitiesAnswer, PlanAnswer
from watchglass.protocol.errors import (
    InsufficientResources,
    LaunchFailed,
    ResourceLimitExceeded,
    RuntimeStopped,
    UnsupportedCapability,
    WorkerExists,
    WrongRuntime,
)
from watchglass.protocol.workers import CreateWorkerRequest

from . import runtime_operations as operations
from .exchange import answer, body, refuses, the_runtime

capabilities_api = Blueprint("capabilities", __name__, url_prefix="/v1")


@capabilities_api.get("/runtime/capabilities")
@document_response(CapabilitiesAnswer)
async def show_capabilities() -> Response:
    """Show what this host can do for workers, as it was found by doing it."""
    return answer(operations.show_capabilities(the_runtime()))


@capabilities_api.post("/runtime/probe")
@document_response(CapabilitiesAnswer)
@refuses(LaunchFailed, RuntimeStopped)
async def probe_host() -> Response:
    """Find out anew what this host can do; plans that are made from then on count on it."""
    return answer(await operations.probe_host(the_runtime()))


@capabilities_api.post("/plan")
@document_request(CreateWorkerRequest)
@document_response(PlanAnswer)
@refuses(
    WrongRuntime,
    UnsupportedCapability,
    InsufficientResources,
    RuntimeStopped,
    WorkerExists,
    ResourceLimitExceeded,
)
async def plan_worker() -> Response:
    """Tell what a creation would come to; nothing is started, and nothing is written."""
    return answer(operations.plan_worker(the_runtime(), await body(CreateWorkerRequest)))
