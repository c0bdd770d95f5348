"""`/v1/runtime` and its drain, `/v1/diagnostics`, `/v1/events/batch`: the runtime as a whole."""

from __future__ import annotations

from pydantic import Field
from quart import Blueprint, Response, current_app
from quart_schema import document_querystring, document_request, document_response

from watchglass.protocol.errors import (
    CursorExpired,
    InvalidJson,
    InvalidQuery,
    InvalidRequest,
    LimitTooLarge,
    RuntimeStopped,
    WrongRuntimeCursor,
)
from watchglass.protocol.parsing import decode
from watchglass.protocol.runtime import (
    DiagnosticsAnswer,
    DrainRequest,
    ResourcesAnswer,
    RuntimeAnswer,
    RuntimeEventBatch,
    RuntimeEventCursor,
)

from .callers import the_caller
from .exchange import Query, answer, body_or_default, query, refuses, the_runtime
from .leaving import Leaving

LEAVING_KEY = "watchglass.leaving"

runtime_api = Blueprint("runtime", __name__, url_prefix="/v1")


class EventBatchQuery(Query):
    """Where to read on; without a cursor, from the oldest kept event."""

    cursor: str | None = Field(default=None, description="the next_cursor of the batch before, as JSON")
    limit: int | None = Field(default=None, ge=1, le=1 << 53)


@runtime_api.get("/runtime")
@document_response(RuntimeAnswer)
async def show_runtime() -> Response:
    """Show the runtime in one object."""
    return answer(RuntimeAnswer(runtime=the_runtime().summary()))


@runtime_api.get("/runtime/resources")
@document_response(ResourcesAnswer)
async def show_resources() -> Response:
    """Show who holds which part of the capacity, and what the others wait for."""
    return answer(ResourcesAnswer(resources=the_runtime().resources()))


@runtime_api.post("/runtime/drain")
@document_request(DrainRequest)
@document_response(RuntimeAnswer, 202)
@refuses(RuntimeStopped)
async def drain_runtime() -> Response:
    """End every worker, then the server; it does this after the answer."""
    request, runtime = await body_or_default(DrainRequest), the_runtime()
    leaving = current_app.extensions[LEAVING_KEY]
    assert isinstance(leaving, Leaving)
    leaving.drain(runtime.runtime_id, request.reason)
    return answer(RuntimeAnswer(runtime=runtime.summary()), 202)


@runtime_api.get("/diagnostics")
@document_response(DiagnosticsAnswer)
async def list_diagnostics() -> Response:
    """List the newest notes for an operator."""
    return answer(DiagnosticsAnswer(diagnostics=the_runtime().diagnostics()))


@runtime_api.get("/events/batch")
@document_querystring(EventBatchQuery)
@document_response(RuntimeEventBatch)
@refuses(InvalidQuery, LimitTooLarge, WrongRuntimeCursor, CursorExpired)
async def read_events() -> Response:
    """Read a bounded batch of the runtime's own events."""
    asked, runtime = query(EventBatchQuery), the_runtime()
    cursor, only = _cursor(asked.cursor), the_caller().only_worker
    return answer(await runtime.runtime_events(cursor, asked.limit, only=only))


def _cursor(text: str | None) -> RuntimeEventCursor | None:
    if text is None:
        return None
    try:
        return decode(RuntimeEventCursor, text)
    except (InvalidJson, InvalidRequest) as fault:
        raise InvalidQuery("cursor", text, f"use the next_cursor of a batch: {fault}") from None
