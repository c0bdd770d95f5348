"""Refusals in the task contract's shape, for every path below `/api/v1`.

    {"error": {"code": …, "message": …, "details": {"fault": …, …}}}

`code` is the contract's; `details.fault` is our own, exacter word (`errors.py`),
with its facts beside it. A status is what HTTP says of the refusal: the
contract's for its codes, and 401, 405, 413 and 503 where it has no code of its own.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from watchglass.protocol import errors as faults
from watchglass.protocol.base import Wire
from watchglass.protocol.errors import RuntimeFault

from .errors import STATUS, error_headers

PREFIX: Final = "/api/v1/"

CODES: Final[dict[type[RuntimeFault], str]] = {
    faults.Unauthorized: "unauthorized",
    faults.ForbiddenHost: "permission_denied",
    faults.ForbiddenOrigin: "permission_denied",
    faults.PermissionDenied: "permission_denied",
    faults.InsufficientScope: "permission_denied",
    faults.WorkerNotFound: "not_found",
    faults.TaskNotFound: "not_found",
    faults.NotFound: "not_found",
    faults.WorkerExists: "conflict",
    faults.WorkerActive: "conflict",
    faults.IdempotencyConflict: "conflict",
    faults.RuntimeStopped: "conflict",
    faults.UnsupportedCapability: "unsupported_capability",
    faults.InsufficientResources: "insufficient_resources",
    faults.LaunchFailed: "launch_failed",
    faults.SandboxSetupFailed: "sandbox_setup_failed",
    faults.ResourceLimitExceeded: "resource_limit_exceeded",
    faults.InputBacklog: "resource_limit_exceeded",
    faults.StoreIo: "internal",
    faults.StoreMissing: "internal",
    faults.StoreCorrupt: "internal",
    faults.StatePoisoned: "internal",
    faults.Internal: "internal",
}
"""Whatever is not here is `invalid_input`: the caller said something that cannot be."""


class TaskErrorText(Wire):
    """A stable code for programs, a sentence for people, and the facts."""

    code: str
    message: str
    details: dict[str, Any] | None = None


class TaskErrorAnswer(Wire):
    """The body of every refusal below `/api/v1`."""

    error: TaskErrorText


def is_ours(path: str) -> bool:
    """Whether a path is answered in the task contract's shape."""
    return path.startswith(PREFIX)


def code_of(fault: type[RuntimeFault]) -> str:
    """The contract's code of a fault."""
    return CODES.get(fault, "invalid_input")


def error_answer(fault: RuntimeFault) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of a refusal."""
    details = {"fault": fault.code, **_facts(fault)}
    said = {"code": code_of(type(fault)), "message": str(fault), "details": details}
    return STATUS[type(fault)], error_headers(fault), orjson.dumps({"error": said}, default=str)


def _facts(fault: RuntimeFault) -> dict[str, Any]:
    return {
        name: value[: faults.SHOWN_CHARS_MAX] if isinstance(value, str) else value
        for name, value in vars(fault).items()
    }
