"""`/v1/runtime`, `/v1/diagnostics`, `/v1/events/batch`: the runtime as a whole."""

from __future__ import annotations

import re

from pydantic import Field
from quart import Blueprint, Response
from quart_schema import document_querystring, document_response
from watchglass.protocol.errors import CursorExpired, InvalidQuery, LimitTooLarge, WrongRuntimeCursor
from watchglass.protocol.runtime import (
    DiagnosticsAnswer,
    RuntimeAnswer,
    RuntimeEventBatch,
    RuntimeEventCursor,
)

from .exchange import Query, answer, query, refuses, the_runtime

_CURSOR = re.compile(r"(?:(?P<runtime_id>[A-Za-z0-9._-]{1,128}):)?(?P<next>[0-9]{1,19})\Z")

runtime_api = Blueprint("runtime", __name__, url_prefix="/v1")


class EventBatchQuery(Query):
    """Where to read on; without a cursor, from the oldest kept event."""

    cursor: str | None = Field(
        default=None, description="RUNTIME_ID:NEXT_EVENT_ID of the batch before, as its next_cursor says"
    )
    limit: int | None = Field(default=None, ge=1, le=1 << 53)


@runtime_api.get("/runtime")
@document_response(RuntimeAnswer)
async def show_runtime() -> Response:
    """Show the runtime in one object."""
    return answer(RuntimeAnswer(runtime=the_runtime().summary()))


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
    return answer(await runtime.runtime_events(_cursor(asked.cursor, runtime.runtime_id), asked.limit))


def _cursor(text: str | None, own: str) -> RuntimeEventCursor | None:
    if text is None:
        return None
    match = _CURSOR.match(text)
    if match is None:
        raise InvalidQuery("cursor", text, "use RUNTIME_ID:NEXT_EVENT_ID, as next_cursor of a batch says")
    return RuntimeEventCursor(runtime_id=match["runtime_id"] or own, next_event_id=int(match["next"]))
