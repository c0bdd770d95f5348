"""Why a feed of version 2 is over: from what was raised or heard to the last frame that is said."""

from __future__ import annotations

import logging
import random
from typing import Any, Final

import orjson

from watchglass.protocol.all_workers import RUNTIME_NAME
from watchglass.protocol.errors import (
    CursorExpired,
    CursorFault,
    CursorLost,
    CursorMalformed,
    CursorUnknown,
    InsufficientScope,
    InvalidQuery,
    StoreFault,
    Unauthorized,
    WorkerNotFound,
)
from watchglass.protocol.feed_v2 import Diagnostic, DiagnosticCode, Reset, retry_after_ms
from watchglass.store.base import LogClosed

from .ear import Heard

_LOG = logging.getLogger(__name__)

_CURSOR_CODES: Final[dict[type[CursorFault], DiagnosticCode]] = {
    CursorMalformed: DiagnosticCode.CURSOR_MALFORMED,
    CursorUnknown: DiagnosticCode.CURSOR_UNKNOWN_OR_EXPIRED,
    CursorExpired: DiagnosticCode.CURSOR_EXPIRED,
}

HEARD: Final[dict[Heard, Diagnostic]] = {
    Heard.SPOKE: Diagnostic(
        code=DiagnosticCode.OBSERVATION_ONLY,
        message='this feed takes {"kind":"ping"} and nothing else; '
        "send input with POST /v1/workers/{worker_id}/input",
    ),
    Heard.BROKE_PROTOCOL: Diagnostic(
        code=DiagnosticCode.WEBSOCKET_ERROR, message="what the observer sent breaks the WebSocket protocol"
    ),
    Heard.STALLED: Diagnostic(
        code=DiagnosticCode.STALLED, message="the observer took no byte for too long; resume with its cursor"
    ),
}
"""What the observer did. Of one that has left there is nothing to say."""


def diagnosed(fault: Exception, worker_id: str | None) -> Diagnostic:
    """Why a feed is over that ended with this; what is no fault of ours to foresee is logged."""
    if isinstance(fault, Unauthorized):
        return Diagnostic(code=DiagnosticCode.UNAUTHORIZED, message="the token of this feed was revoked")
    if isinstance(fault, InsufficientScope):
        return Diagnostic(code=DiagnosticCode.FORBIDDEN, message=str(fault), details={"needed": fault.needed})
    if isinstance(fault, WorkerNotFound):
        return Diagnostic(code=DiagnosticCode.WORKER_NOT_FOUND, message=str(fault))
    if isinstance(fault, CursorFault):
        return Diagnostic(code=_CURSOR_CODES[type(fault)], message=str(fault), details=_details(fault))
    if isinstance(fault, InvalidQuery):
        details = {"parameter": fault.parameter}
        return Diagnostic(code=DiagnosticCode.QUERY_MALFORMED, message=str(fault), details=details)
    if isinstance(fault, LogClosed):
        assert worker_id is not None, "the log was one worker's"
        return _log_closed(fault, worker_id)
    if isinstance(fault, StoreFault):
        _LOG.warning("a feed of worker %s ended: %s", worker_id, fault)
        return later(DiagnosticCode.STORE_UNAVAILABLE, f"the journal cannot be read: {fault}")
    _LOG.error("a feed failed", exc_info=fault)
    return later(DiagnosticCode.UNAVAILABLE, "the feed failed; the runtime's log says more")


def reset_of(fault: CursorUnknown | CursorExpired) -> Reset:
    """A cursor that cannot be honoured, as `reset` tells it."""
    return Reset(reason=fault.loss, requested=fault.asked, oldest=fault.oldest, head=fault.newest)


def gone_body(fault: CursorUnknown | CursorExpired) -> bytes:
    """The body of 410: what `reset` says, and the error as all have it."""
    return orjson.dumps({"kind": "reset", **gone_facts(fault)})


def gone_facts(fault: CursorUnknown | CursorExpired) -> dict[str, Any]:
    """The same without its kind."""
    facts = reset_of(fault).model_dump(exclude={"kind"})
    return {**facts, **_whose(fault), "error": {"code": fault.code, "message": str(fault)}}


def _details(fault: CursorFault) -> dict[str, Any]:
    if isinstance(fault, CursorUnknown | CursorExpired):
        return {**reset_of(fault).model_dump(exclude={"kind"}), **_whose(fault)}
    if isinstance(fault, CursorMalformed) and fault.kept is not None:
        oldest, head = fault.kept
        return {"reason": "malformed", "requested": fault.value, "oldest": oldest, "head": head}
    return {}


def _whose(fault: CursorLost) -> dict[str, str]:
    """Whose events retention dropped, where it could be one of many."""
    return {} if fault.worker_id is None else {"worker_id": fault.worker_id}


def _log_closed(closed: LogClosed, worker_id: str) -> Diagnostic:
    if closed.removed:
        return Diagnostic(code=DiagnosticCode.WORKER_NOT_FOUND, message=str(WorkerNotFound(worker_id)))
    who = "everybody" if worker_id == RUNTIME_NAME else "this worker"
    return later(DiagnosticCode.UPSTREAM_CLOSED, f"the runtime has stopped; what {who} said was sent whole")


def later(code: DiagnosticCode, message: str) -> Diagnostic:
    """A reason that passes, and when to come back."""
    return Diagnostic(code=code, message=message, retry_after_ms=spread_ms())


def spread_ms() -> int:
    """When to come back."""
    return retry_after_ms(random.random())  # noqa: S311 - it spreads observers out and guards nothing.
