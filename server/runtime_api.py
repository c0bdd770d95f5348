"""`/v1/runtime` and its drain, `/v1/diagnostics`, `/v1/events/batch`: the runtime as a whole."""

from __future__ import annotations

from quart import Blueprint, Response, current_app
from quart_schema import document_querystring, document_request, document_response, hide

from watchglass.protocol.errors import (
    CursorExpired,
    InvalidQuery,
    InvalidRequest,
    LimitTooLarge,
    RuntimeStopped,
    WrongRuntimeCursor,
)
from watchglass.protocol.runtime import (
    DiagnosticsAnswer,
    DrainRequest,
    ResourcesAnswer,
    RuntimeAnswer,
    RuntimeEventBatch,
)

from . import runtime_operations as operations
from .callers import the_caller
from .exchange import answer, body_or_default, query, refuses, the_runtime
from .leaving import Leaving
from .queries import EventBatchQuery

LEAVING_KEY = "watchglass.leaving"

runtime_api = Blueprint("runtime", __name__, url_prefix="/v1")


@runtime_api.get("/runtime")
@document_response(RuntimeAnswer)
async def show_runtime() -> Response:
    """Show the runtime in one object."""
    return answer(operations.show_runtime(the_runtime()))


@runtime_api.get("/runtime/resources")
@document_response(ResourcesAnswer)
async def show_resources() -> Response:
    """Show who holds which part of the capacity, and what the others wait for."""
    return answer(operations.show_resources(the_runtime()))


@runtime_api.post("/runtime/drain")
@document_request(DrainRequest)
@document_response(RuntimeAnswer, 202)
@refuses(RuntimeStopped)
async def drain_runtime() -> Response:
    """End every worker, then the server; it does this after the answer."""
    request = await body_or_default(DrainRequest)
    leaving = current_app.extensions[LEAVING_KEY]
    assert isinstance(leaving, Leaving)
    return answer(operations.drain(the_runtime(), leaving, request), 202)


@runtime_api.get("/diagnostics")
@document_response(DiagnosticsAnswer)
async def list_diagnostics() -> Response:
    """List the newest notes for an operator."""
    return answer(operations.list_diagnostics(the_runtime()))


@runtime_api.get("/events/ws")
@hide
async def feed_without_upgrade() -> Response:
    """Everybody's feed, asked for as if it were a page."""
    raise InvalidRequest(
        "everybody's feed is a WebSocket here; ask for it with an upgrade, or GET /v1/events"
    )


@runtime_api.get("/session/ws")
@hide
async def session_without_upgrade() -> Response:
    """A session, asked for as if it were a page."""
    raise InvalidRequest("a session is a WebSocket; ask for it with an upgrade")


@runtime_api.get("/events/batch")
@document_querystring(EventBatchQuery)
@document_response(RuntimeEventBatch)
@refuses(InvalidQuery, LimitTooLarge, WrongRuntimeCursor, CursorExpired)
async def read_events() -> Response:
    """Read a bounded batch of the runtime's own events."""
    asked, only = query(EventBatchQuery), the_caller().only_worker
    return answer(await operations.read_events(the_runtime(), asked, only=only))
