"""The one table from what we refuse to an HTTP answer.

    {"error": {"code": …, "message": …}}

Nothing else in the house knows a status code. What is not a `RuntimeFault` is
our bug: it is logged whole and shown as `internal`.
"""

from __future__ import annotations

from typing import Final

from watchglass.protocol import errors as faults
from watchglass.protocol.base import Wire
from watchglass.protocol.errors import RuntimeFault

STATUS: Final[dict[type[RuntimeFault], int]] = {
    faults.InvalidWorkerId: 400,
    faults.InvalidRequest: 400,
    faults.InvalidJson: 400,
    faults.InvalidQuery: 400,
    faults.LimitTooLarge: 400,
    faults.WrongRuntime: 400,
    faults.WrongRuntimeCursor: 400,
    faults.CursorMalformed: 400,
    faults.InsufficientResources: 400,
    faults.UnsupportedCapability: 400,
    faults.LaunchFailed: 400,
    faults.SandboxSetupFailed: 400,
    faults.ArchiveInvalid: 400,
    faults.TlsRequired: 400,
    faults.Unauthorized: 401,
    faults.ForbiddenHost: 403,
    faults.ForbiddenOrigin: 403,
    faults.PermissionDenied: 403,
    faults.InsufficientScope: 403,
    faults.WorkerNotFound: 404,
    faults.TaskNotFound: 404,
    faults.NotFound: 404,
    faults.UnknownMethod: 404,
    faults.NotOnSession: 405,
    faults.MethodNotAllowed: 405,
    faults.RuntimeStopped: 409,
    faults.WorkerExists: 409,
    faults.WorkerActive: 409,
    faults.IdempotencyConflict: 409,
    faults.TranscriptExpired: 410,
    faults.CursorUnknown: 410,
    faults.CursorExpired: 410,
    faults.BodyTooLarge: 413,
    faults.RangeNotSatisfiable: 416,
    faults.InputBacklog: 429,
    faults.ResourceLimitExceeded: 429,
    faults.StoreIo: 500,
    faults.StoreMissing: 500,
    faults.StoreCorrupt: 500,
    faults.StatePoisoned: 500,
    faults.Internal: 500,
}

RETRY_AFTER_S = 1


class ErrorText(Wire):
    """A stable code for programs, a sentence for people."""

    code: str
    message: str


class ErrorAnswer(Wire):
    """The body of every refusal."""

    error: ErrorText


def error_body(fault: RuntimeFault) -> bytes:
    """The JSON body of a refusal."""
    return ErrorAnswer(error=ErrorText(code=fault.code, message=str(fault))).model_dump_json().encode()


def error_answer(fault: RuntimeFault) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of a refusal."""
    return STATUS[type(fault)], error_headers(fault), error_body(fault)


def error_headers(fault: RuntimeFault) -> dict[str, str]:
    """The headers that HTTP asks for beside a status."""
    headers = {"content-type": "application/json", "cache-control": "no-store"}
    if isinstance(fault, faults.Unauthorized):
        headers["www-authenticate"] = 'Bearer realm="watchglass"'
    if isinstance(fault, faults.InsufficientScope):
        headers["www-authenticate"] = f'Bearer error="insufficient_scope", scope="{fault.needed}"'
    if isinstance(fault, faults.InputBacklog | faults.ResourceLimitExceeded):
        headers["retry-after"] = str(RETRY_AFTER_S)
    if isinstance(fault, faults.RangeNotSatisfiable):
        headers["content-range"] = f"bytes */{fault.size_bytes}"
    return headers
