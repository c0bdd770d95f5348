"""Everything that watchglass refuses on purpose, by a stable code.

Callers match on `code`, never on the text. The text names the value at fault
and what to do; the facts are attributes. `server/errors.py` maps each class to
its HTTP status; the codes of the worker runtime contract keep their words.
"""

from __future__ import annotations

import errno
import os
from typing import ClassVar, Final, Literal, Self

SHOWN_CHARS_MAX = 80
SAID_CHARS_MAX = 400
"""Of what a tool of the host said, which is shown as it is."""

LossReason = Literal["retention", "generation", "ahead"]
"""Why a cursor cannot be honoured: dropped; no event of this log, as one that a crash lost; yet to come."""


def shown(value: object) -> str:
    """A value as an error text may show it: quoted, and cut when it is long."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARS_MAX else f"{text[:SHOWN_CHARS_MAX]}… ({len(text)} characters)"


class RuntimeFault(Exception):
    """Base of everything we raise on purpose. Anything else is our bug."""

    code: ClassVar[str]


class InvalidWorkerId(RuntimeFault):
    """The text can be no worker's id."""

    code = "invalid_worker_id"

    def __init__(self, value: str, reason: str) -> None:
        super().__init__(f"worker id {shown(value)} {reason}")
        self.value = value
        self.reason = reason


class InvalidRequest(RuntimeFault):
    """A well-formed request that says something it must not."""

    code = "invalid_request"


class InvalidJson(RuntimeFault):
    """The body is not JSON."""

    code = "invalid_json"


class InvalidQuery(RuntimeFault):
    """A query parameter is of the wrong form."""

    code = "invalid_query"

    def __init__(self, parameter: str, value: str, reason: str) -> None:
        super().__init__(f"query parameter {parameter}={shown(value)}: {reason}")
        self.parameter = parameter
        self.value = value
        self.reason = reason


class LimitTooLarge(RuntimeFault):
    """More was asked for at once than the runtime gives."""

    code = "limit_too_large"

    def __init__(self, parameter: str, asked: int, limit: int) -> None:
        super().__init__(
            f"{parameter} {asked} is over this runtime's maximum of {limit}; ask for {limit} or less"
        )
        self.parameter = parameter
        self.asked = asked
        self.limit = limit


class WrongRuntime(RuntimeFault):
    """A worker reference of another runtime."""

    code = "wrong_runtime"

    def __init__(self, asked: str, own: str) -> None:
        super().__init__(f"worker_ref names runtime {shown(asked)}, but this is runtime {own!r}")
        self.asked = asked
        self.own = own


class WrongRuntimeCursor(RuntimeFault):
    """A cursor of runtime events that another runtime gave out."""

    code = "wrong_runtime_cursor"

    def __init__(self, asked: str, own: str) -> None:
        super().__init__(f"cursor belongs to runtime {shown(asked)}, but this is runtime {own!r}")
        self.asked = asked
        self.own = own


class WorkerNotFound(RuntimeFault):
    """No worker has this id."""

    code = "worker_not_found"

    def __init__(self, worker_id: str) -> None:
        super().__init__(f"no worker {shown(worker_id)}")
        self.worker_id = worker_id


class TaskNotFound(RuntimeFault):
    """No task has this id; a worker that was not asked for as a task is none."""

    code = "task_not_found"

    def __init__(self, task_id: str) -> None:
        super().__init__(f"no task {shown(task_id)}")
        self.task_id = task_id


class PermissionDenied(RuntimeFault):
    """Only its owner may kill a task that has one."""

    code = "permission_denied"

    def __init__(self, task_id: str, owner: str) -> None:
        super().__init__(f"kill requires owner {shown(owner)}: task {task_id!r} is theirs")
        self.task_id = task_id
        self.owner = owner


class WorkerExists(RuntimeFault):
    """The id that the caller chose for a new worker is taken."""

    code = "worker_exists"

    def __init__(self, worker_id: str) -> None:
        super().__init__(
            f"worker {worker_id!r} exists already; choose another worker_id, or remove that worker first"
        )
        self.worker_id = worker_id


class WorkerActive(RuntimeFault):
    """Only an ended worker can be removed, or exported."""

    code = "worker_active"

    def __init__(self, worker_id: str, phase: str) -> None:
        super().__init__(f"worker {worker_id!r} is {phase}; this takes an ended one: stop or cancel it first")
        self.worker_id = worker_id
        self.phase = phase


class IdempotencyConflict(RuntimeFault):
    """An Idempotency-Key that came with another request before."""

    code = "idempotency_conflict"

    def __init__(self, key: str) -> None:
        super().__init__(f"Idempotency-Key {shown(key)} was used for a different request; use a new key")
        self.key = key


class RuntimeStopped(RuntimeFault):
    """The runtime takes no more changes; reads still work."""

    code = "runtime_stopped"

    def __init__(self, runtime_id: str) -> None:
        super().__init__(f"runtime {runtime_id!r} is stopping and takes no more changes")
        self.runtime_id = runtime_id


class InputBacklog(RuntimeFault):
    """The worker does not read its input as fast as it is sent."""

    code = "input_backlog"

    def __init__(self, worker_id: str, backlog_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            f"worker {worker_id!r} has {backlog_bytes} bytes of input that it did not read yet, "
            f"and this one would pass the bound of {limit_bytes}; nothing was taken, send it again later"
        )
        self.worker_id = worker_id
        self.backlog_bytes = backlog_bytes
        self.limit_bytes = limit_bytes


class ResourceLimitExceeded(RuntimeFault):
    """A bound on how many things may be there at once is reached."""

    code = "resource_limit_exceeded"

    def __init__(self, what: str, limit: int) -> None:
        super().__init__(
            f"there are {limit} {what} already, which is this runtime's maximum; try again later"
        )
        self.what = what
        self.limit = limit


class InsufficientResources(RuntimeFault):
    """More is asked for than there will ever be: over the whole capacity, or over a tenant's quota."""

    code = "insufficient_resources"

    def __init__(self, resource: str, asked: int, capacity: int, tenant: str | None = None) -> None:
        """`tenant`: whose quota `capacity` is; None: it is the runtime's."""
        whose = "this runtime has" if tenant is None else f"tenant {shown(tenant)} may have"
        super().__init__(f"{resource} {asked} is over the {capacity} that {whose} in all; ask for less")
        self.resource = resource
        self.asked = asked
        self.capacity = capacity
        self.tenant = tenant


class UnsupportedCapability(RuntimeFault):
    """The host or this runtime cannot give what was asked, and less will not do.

    Less will not do in strict mode, and of some features in no mode.
    """

    code = "unsupported_capability"

    def __init__(self, feature: str, reason: str, because: str = "policy.capability_mode is strict") -> None:
        super().__init__(f"{feature}: {reason} ({because})")
        self.feature = feature
        self.reason = reason
        self.because = because


class LaunchFailed(RuntimeFault):
    """The worker's process could not be started; `uid` is whose rights count, when it is not the server's."""

    code = "launch_failed"

    def __init__(self, step: str, subject: str, error_number: int, *, uid: int | None = None) -> None:
        who = _who(uid)
        super().__init__(f"cannot start the worker: {step} {shown(subject)}{who}: {_why(error_number)}")
        self.step = step
        self.subject = subject
        self.error_number = error_number
        self.uid = uid


class SandboxSetupFailed(LaunchFailed):
    """The sandbox around the worker could not be made; `subject` is what refused, in its own words."""

    code = "sandbox_setup_failed"

    def __init__(self, step: str, subject: str, error_number: int, *, uid: int | None = None) -> None:
        super().__init__(step, subject, error_number, uid=uid)
        said = subject[:SAID_CHARS_MAX]
        self.args = (f"cannot start the worker: {step}{_who(uid)}: {said}; {_why(error_number)}",)


def _who(uid: int | None) -> str:
    return "" if uid is None else f" as user {uid}"


def _why(error_number: int) -> str:
    name = errno.errorcode.get(error_number, str(error_number))
    return f"{os.strerror(error_number)} ({name})"


LAUNCH_FAULTS: Final = frozenset({LaunchFailed.code, SandboxSetupFailed.code})
"""The reasons of a worker whose program never ran, though it was tried."""


class Unauthorized(RuntimeFault):
    """The token is missing, or is none of this runtime's."""

    code = "unauthorized"

    def __init__(self) -> None:
        super().__init__("send a token of this runtime as 'Authorization: Bearer TOKEN'")


class InsufficientScope(RuntimeFault):
    """The token is right, and may not do this."""

    code = "insufficient_scope"

    def __init__(self, needed: str, held: str, bound_to: str | None = None) -> None:
        """`bound_to`: the one worker that the token is for, where it has to be for all."""
        whole, bound = ("", "") if bound_to is None else (" for all workers", f", for {bound_to!r} alone")
        super().__init__(
            f"this takes a token of scope {needed!r}{whole}; the one that came has {held!r}{bound}"
        )
        self.needed = needed
        self.held = held
        self.bound_to = bound_to


class ForbiddenHost(RuntimeFault):
    """The Host header is not one of ours (DNS rebinding)."""

    code = "forbidden_host"

    def __init__(self, host: str) -> None:
        super().__init__(f"Host {shown(host)} is not a name of this runtime; allow it with --allow-host")
        self.host = host


class ForbiddenOrigin(RuntimeFault):
    """A browser page of an origin that is not listed."""

    code = "forbidden_origin"

    def __init__(self, origin: str) -> None:
        super().__init__(
            f"Origin {shown(origin)} is not allowed; browsers talk to a backend, or use --allow-origin"
        )
        self.origin = origin


class NotFound(RuntimeFault):
    """No endpoint has this path."""

    code = "not_found"

    def __init__(self, path: str) -> None:
        super().__init__(f"no endpoint {shown(path)}; /openapi.json lists them")
        self.path = path


class MethodNotAllowed(RuntimeFault):
    """The endpoint does not take this method."""

    code = "method_not_allowed"

    def __init__(self, method: str, path: str) -> None:
        super().__init__(f"{path} does not take {method}")
        self.method = method
        self.path = path


class UnknownMethod(RuntimeFault):
    """A session has no method of this name."""

    code = "unknown_method"

    def __init__(self, method: str) -> None:
        super().__init__(f"no method {shown(method)}; docs/session.md lists them")
        self.method = method


class NotOnSession(RuntimeFault):
    """What this would do cannot be said in one frame of JSON: it is done over HTTP, or by a subscription."""

    code = "not_on_session"

    def __init__(self, method: str, http_method: str, path: str) -> None:
        instead = f"{http_method} {path}"
        super().__init__(f"{method} is no method of a session; use {instead}, or subscribe to events")
        self.method = method
        self.http_method = http_method
        self.path = path


class BodyTooLarge(RuntimeFault):
    """The request's body is over the bound."""

    code = "body_too_large"

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"the body is over {limit_bytes} bytes, the most that this endpoint takes")
        self.limit_bytes = limit_bytes


class RangeNotSatisfiable(RuntimeFault):
    """The asked bytes lie behind the end of the log."""

    code = "range_not_satisfiable"

    def __init__(self, asked: str, size_bytes: int) -> None:
        super().__init__(f"{asked} lies outside the log, which has {size_bytes} bytes")
        self.asked = asked
        self.size_bytes = size_bytes


class TranscriptExpired(RuntimeFault):
    """The asked transcript entries are no longer kept."""

    code = "transcript_expired"

    def __init__(self, start: int, oldest: int) -> None:
        super().__init__(f"transcript entries before {oldest} are no longer kept, and {start} was asked for")
        self.start = start
        self.oldest = oldest


class CursorFault(RuntimeFault):
    """Base of the cursors that a feed cannot resume from."""


class CursorMalformed(CursorFault):
    """The text is no cursor."""

    code = "cursor_malformed"

    def __init__(self, value: str) -> None:
        super().__init__(
            f"cursor {shown(value)} is malformed: a cursor is 'wo_' and 16 lower-case hex digits"
        )
        self.value = value


class CursorLost(CursorFault):
    """Base of those that were good once, or look so.

    `worker_id`: of whom retention dropped something, where the logs of several are read as one.
    """

    worker_id: str | None = None

    def of(self, worker_id: str | None) -> Self:
        """The same, naming whose log it was; None: the runtime's own."""
        whose = "the runtime's own log" if worker_id is None else f"the log of worker {worker_id!r}"
        self.worker_id = "runtime" if worker_id is None else worker_id
        self.args = (f"{self}; it was {whose}",)
        return self


class CursorUnknown(CursorLost):
    """No event of this worker that is still kept has this cursor."""

    code = "cursor_unknown_or_expired"

    loss: LossReason = "generation"
    """The reason as a program reads it; whoever finds it says so."""

    def __init__(self, reason: str, asked: str, oldest: str, newest: str) -> None:
        super().__init__(
            f"cursor {asked} {reason}; the oldest kept cursor is {oldest}, the newest is {newest}"
        )
        self.reason = reason
        self.asked = asked
        self.oldest = oldest
        self.newest = newest


class CursorExpired(CursorLost):
    """Retention overtook a reader while it was reading."""

    code = "cursor_expired"
    loss: ClassVar[LossReason] = "retention"

    def __init__(self, asked: str, oldest: str, newest: str) -> None:
        super().__init__(
            f"events after {asked} were dropped by retention before this reader took them; "
            f"the oldest kept cursor is {oldest}, the newest is {newest}"
        )
        self.asked = asked
        self.oldest = oldest
        self.newest = newest


class StoreFault(RuntimeFault):
    """Base of the faults of the store."""

    def __init__(self, operation: str, path: str, reason: str) -> None:
        super().__init__(f"{operation} {path}: {reason}")
        self.operation = operation
        self.path = path
        self.reason = reason


class StoreIo(StoreFault):
    """The operating system refused to read or write."""

    code = "store_io"


class StoreMissing(StoreFault):
    """Something that the store wrote is not there."""

    code = "store_missing"


class StoreCorrupt(StoreFault):
    """Something that the store wrote cannot be read back."""

    code = "store_corrupt"


class StatePoisoned(RuntimeFault):
    """The task that owns a worker's state failed; the worker was killed."""

    code = "state_poisoned"

    def __init__(self, worker_id: str) -> None:
        super().__init__(
            f"the state of worker {worker_id!r} is unusable after an internal failure; see the log"
        )
        self.worker_id = worker_id


class ArchiveInvalid(RuntimeFault):
    """What should be imported is not what an export wrote; nothing of it is kept."""

    code = "archive_invalid"

    def __init__(self, member: str | None, reason: str) -> None:
        """`member`: the name of the one at fault; None: the archive as a whole."""
        place = "the archive" if member is None else f"{shown(member)} of the archive"
        super().__init__(f"{place}: {reason}")
        self.member = member
        self.reason = reason


class Internal(RuntimeFault):
    """Our bug; the log has the rest."""

    code = "internal"

    def __init__(self) -> None:
        super().__init__("internal error; the runtime's log says more")


def faults() -> list[type[RuntimeFault]]:
    """Every fault that has a code of its own, in code order."""
    found: list[type[RuntimeFault]] = []
    pending: list[type[RuntimeFault]] = [RuntimeFault]
    while pending:
        fault = pending.pop()
        pending.extend(fault.__subclasses__())
        if "code" in vars(fault):
            found.append(fault)
    return sorted(found, key=lambda fault: fault.code)
