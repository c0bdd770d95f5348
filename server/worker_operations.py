"""What can be done with workers: takes models, asks the runtime, answers a model.

No transport: REST handlers and a session's commands call the same functions, so
that what one answers the other does too. Ids are checked by then. Each raises
what the runtime's method does.
"""

from __future__ import annotations

from watchglass.protocol.errors import InvalidQuery
from watchglass.protocol.events import AppendEventsAnswer, AppendEventsRequest
from watchglass.protocol.identity import WorkerId
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
from watchglass.runtime import Runtime, WorkerFilter

from .queries import TRANSCRIPT_LIMIT_DEFAULT, TranscriptQuery, WorkersQuery


def list_workers(runtime: Runtime, asked: WorkersQuery, *, only: WorkerId | None = None) -> WorkersAnswer:
    """Workers in order of creation; with `only`, as if there were no other. Raises InvalidQuery."""
    wanted = WorkerFilter(status=asked.status, phase=asked.phase, labels=_labels(asked.label), only=only)
    workers, more = runtime.list_workers(wanted, limit=asked.limit, after=asked.after)
    return WorkersAnswer(
        workers=list(workers), next_after=workers[-1].worker_id if more and workers else None
    )


async def create_worker(runtime: Runtime, request: CreateWorkerRequest, key: str | None) -> WorkerAnswer:
    """A new worker; with a key, the same for a repetition."""
    return WorkerAnswer(worker=await runtime.create_worker(request, idempotency_key=key))


def show_worker(runtime: Runtime, worker_id: WorkerId) -> WorkerAnswer:
    """A worker, whole."""
    return WorkerAnswer(worker=runtime.worker(worker_id))


async def remove_worker(runtime: Runtime, worker_id: WorkerId) -> None:
    """Forget an ended worker."""
    await runtime.remove(worker_id)


async def send_input(runtime: Runtime, worker_id: WorkerId, said: WorkerInput) -> InteractionAnswer:
    """Say something to a worker."""
    return InteractionAnswer(ack=await runtime.send_input(worker_id, said))


async def stop_worker(runtime: Runtime, worker_id: WorkerId, asked: LifecycleRequest) -> LifecycleAnswer:
    """Ask a worker to leave, then make it leave."""
    return LifecycleAnswer(ack=await runtime.stop(worker_id, asked))


async def cancel_worker(runtime: Runtime, worker_id: WorkerId, asked: LifecycleRequest) -> LifecycleAnswer:
    """Abandon a worker."""
    return LifecycleAnswer(ack=await runtime.cancel(worker_id, asked))


async def interrupt_worker(runtime: Runtime, worker_id: WorkerId, asked: LifecycleRequest) -> LifecycleAnswer:
    """End the turn and keep the worker."""
    return LifecycleAnswer(ack=await runtime.interrupt(worker_id, asked))


async def signal_worker(runtime: Runtime, worker_id: WorkerId, asked: SignalRequest) -> LifecycleAnswer:
    """Send a signal to a worker's process group."""
    return LifecycleAnswer(ack=await runtime.signal(worker_id, asked.signal, asked))


async def close_stdin(runtime: Runtime, worker_id: WorkerId, asked: LifecycleRequest) -> LifecycleAnswer:
    """End a worker's input after what it was sent."""
    return LifecycleAnswer(ack=await runtime.close_stdin(worker_id, asked))


async def show_transcript(runtime: Runtime, worker_id: WorkerId, asked: TranscriptQuery) -> TranscriptAnswer:
    """A window of what was said."""
    most = runtime.options.limits.max_transcript_projection_items
    limit = min(TRANSCRIPT_LIMIT_DEFAULT, most) if asked.limit is None else asked.limit
    return TranscriptAnswer(transcript=await runtime.transcript(worker_id, asked.start, limit))


async def append_events(
    runtime: Runtime, worker_id: WorkerId, asked: AppendEventsRequest
) -> AppendEventsAnswer:
    """Append to the journal of a worker that has no process."""
    return await runtime.append_events(worker_id, asked.events)


def explain_worker(runtime: Runtime, worker_id: WorkerId, *, names_others: bool = True) -> ExplanationAnswer:
    """Why a worker is where it is; `names_others`: also by whom it is held up."""
    return ExplanationAnswer(explanation=runtime.explain(worker_id, names_others=names_others))


def _labels(given: list[str]) -> dict[str, str]:
    labels: dict[str, str] = {}
    for label in given:
        name, equals, value = label.partition("=")
        if not name or not equals:
            raise InvalidQuery("label", label, "use NAME=VALUE")
        if labels.setdefault(name, value) != value:
            raise InvalidQuery("label", label, f"and {name}={labels[name]} cannot both hold")
    return labels
