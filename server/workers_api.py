"""`/v1/workers`: every command and every answer of the worker runtime contract, but the feed."""

from __future__ import annotations

from quart import Blueprint, Response
from quart_schema import document_headers, document_querystring, document_request, document_response, hide

from watchglass.protocol.errors import (
    IdempotencyConflict,
    InputBacklog,
    InsufficientResources,
    InvalidQuery,
    InvalidRequest,
    InvalidWorkerId,
    LaunchFailed,
    LimitTooLarge,
    ResourceLimitExceeded,
    RuntimeStopped,
    SandboxSetupFailed,
    StatePoisoned,
    StoreCorrupt,
    StoreIo,
    StoreMissing,
    TranscriptExpired,
    UnsupportedCapability,
    WorkerActive,
    WorkerExists,
    WorkerNotFound,
    WrongRuntime,
)
from watchglass.protocol.events import AppendEventsAnswer, AppendEventsRequest
from watchglass.protocol.identity import WorkerId, parse_worker_id
from watchglass.protocol.workers import (
    CreateWorkerRequest,
    ExplanationAnswer,
    InteractionAnswer,
    LifecycleAnswer,
    LifecycleRequest,
    SignalRequest,
    TranscriptAnswer,
    WorkerAnswer,
    WorkerInput,
    WorkersAnswer,
)

from . import worker_operations as operations
from .callers import the_caller
from .exchange import (
    answer,
    body,
    body_or_default,
    idempotency_key,
    nothing,
    query,
    refuses,
    the_runtime,
)
from .queries import Query, TranscriptQuery, WorkersQuery

workers_api = Blueprint("workers", __name__, url_prefix="/v1/workers")


class CreateWorkerHeaders(Query):
    """A key that makes it safe to send a creation again."""

    idempotency_key: str | None = None


@workers_api.url_value_preprocessor
def _check_worker_id(_endpoint: str | None, values: dict[str, str] | None) -> None:
    if values and "worker_id" in values:
        parse_worker_id(values["worker_id"])


@workers_api.get("")
@document_querystring(WorkersQuery)
@document_response(WorkersAnswer)
@refuses(InvalidQuery)
async def list_workers() -> Response:
    """List workers, in order of creation."""
    asked, only = query(WorkersQuery), the_caller().only_worker
    return answer(operations.list_workers(the_runtime(), asked, only=only))


@workers_api.post("")
@document_headers(CreateWorkerHeaders)
@document_request(CreateWorkerRequest)
@document_response(WorkerAnswer)
@refuses(
    WrongRuntime,
    LaunchFailed,
    SandboxSetupFailed,
    InsufficientResources,
    UnsupportedCapability,
    RuntimeStopped,
    WorkerExists,
    WorkerNotFound,
    IdempotencyConflict,
    ResourceLimitExceeded,
    StoreIo,
)
async def create_worker() -> Response:
    """Create a worker, and start its process when it has one and there is room."""
    request = await body(CreateWorkerRequest)
    return answer(await operations.create_worker(the_runtime(), request, idempotency_key()))


@workers_api.get("/<worker_id>")
@document_response(WorkerAnswer)
@refuses(InvalidWorkerId, WorkerNotFound)
async def show_worker(worker_id: WorkerId) -> Response:
    """Show a worker, whole."""
    return answer(operations.show_worker(the_runtime(), worker_id))


@workers_api.delete("/<worker_id>")
@refuses(InvalidWorkerId, WorkerNotFound, WorkerActive, RuntimeStopped)
async def remove_worker(worker_id: WorkerId) -> Response:
    """Forget an ended worker, its journal and its files."""
    await operations.remove_worker(the_runtime(), worker_id)
    return nothing()


@workers_api.post("/<worker_id>/input")
@document_request(WorkerInput)
@document_response(InteractionAnswer)
@refuses(InvalidWorkerId, WorkerNotFound, WrongRuntime, RuntimeStopped, InputBacklog, StatePoisoned, StoreIo)
async def send_input(worker_id: WorkerId) -> Response:
    """Say something to a worker; answered when it is in the journal and on its way."""
    said = await body(WorkerInput)
    return answer(await operations.send_input(the_runtime(), worker_id, said))


@workers_api.post("/<worker_id>/stop")
@document_request(LifecycleRequest)
@document_response(LifecycleAnswer)
@refuses(InvalidWorkerId, WorkerNotFound, WrongRuntime, RuntimeStopped)
async def stop_worker(worker_id: WorkerId) -> Response:
    """Ask a worker to leave, then make it leave; answered when it has ended."""
    request = await body_or_default(LifecycleRequest)
    return answer(await operations.stop_worker(the_runtime(), worker_id, request))


@workers_api.post("/<worker_id>/cancel")
@document_request(LifecycleRequest)
@document_response(LifecycleAnswer)
@refuses(InvalidWorkerId, WorkerNotFound, WrongRuntime, RuntimeStopped)
async def cancel_worker(worker_id: WorkerId) -> Response:
    """Abandon a worker: its process tree is killed at once."""
    request = await body_or_default(LifecycleRequest)
    return answer(await operations.cancel_worker(the_runtime(), worker_id, request))


@workers_api.post("/<worker_id>/interrupt")
@document_request(LifecycleRequest)
@document_response(LifecycleAnswer)
@refuses(InvalidWorkerId, WorkerNotFound, WrongRuntime, RuntimeStopped, StatePoisoned)
async def interrupt_worker(worker_id: WorkerId) -> Response:
    """End the turn and keep the worker (SIGINT)."""
    request = await body_or_default(LifecycleRequest)
    return answer(await operations.interrupt_worker(the_runtime(), worker_id, request))


@workers_api.post("/<worker_id>/signal")
@document_request(SignalRequest)
@document_response(LifecycleAnswer)
@refuses(InvalidWorkerId, WorkerNotFound, WrongRuntime, RuntimeStopped, StatePoisoned)
async def signal_worker(worker_id: WorkerId) -> Response:
    """Send a signal to a worker's process group."""
    request = await body(SignalRequest)
    return answer(await operations.signal_worker(the_runtime(), worker_id, request))


@workers_api.post("/<worker_id>/close-stdin")
@document_request(LifecycleRequest)
@document_response(LifecycleAnswer)
@refuses(InvalidWorkerId, WorkerNotFound, WrongRuntime, RuntimeStopped, StatePoisoned)
async def close_stdin(worker_id: WorkerId) -> Response:
    """End a worker's input after what it was sent."""
    request = await body_or_default(LifecycleRequest)
    return answer(await operations.close_stdin(the_runtime(), worker_id, request))


@workers_api.get("/<worker_id>/transcript")
@document_querystring(TranscriptQuery)
@document_response(TranscriptAnswer)
@refuses(
    InvalidWorkerId,
    InvalidQuery,
    LimitTooLarge,
    WorkerNotFound,
    TranscriptExpired,
    StoreIo,
    StoreMissing,
    StoreCorrupt,
)
async def show_transcript(worker_id: WorkerId) -> Response:
    """Show a window of what was said."""
    return answer(await operations.show_transcript(the_runtime(), worker_id, query(TranscriptQuery)))


@workers_api.post("/<worker_id>/events")
@document_request(AppendEventsRequest)
@document_response(AppendEventsAnswer)
@refuses(InvalidWorkerId, WorkerNotFound, RuntimeStopped, StatePoisoned, StoreIo)
async def append_events(worker_id: WorkerId) -> Response:
    """Append events to the journal of a worker that has no process."""
    request = await body(AppendEventsRequest)
    return answer(await operations.append_events(the_runtime(), worker_id, request))


@workers_api.get("/<worker_id>/explain")
@document_response(ExplanationAnswer)
@refuses(InvalidWorkerId, WorkerNotFound)
async def explain_worker(worker_id: WorkerId) -> Response:
    """Say why a worker is where it is."""
    names_others = the_caller().only_worker is None
    return answer(operations.explain_worker(the_runtime(), worker_id, names_others=names_others))


@workers_api.get("/<worker_id>/events/ws")
@hide
async def feed_without_upgrade(worker_id: WorkerId) -> Response:
    """The feed, asked for as if it were a page."""
    raise InvalidRequest(f"the feed of worker {worker_id!r} is a WebSocket; ask for it with an upgrade")
