"""What can be asked of a runtime, as calls: the methods of every client are made of these.

All may raise what `Call.read` raises, and `Unreachable`. Bodies are checked
before they are sent: `pydantic.ValidationError`, a ValueError.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from watchglass.protocol.capabilities import Capabilities, PlanAnswer
from watchglass.protocol.events import AppendEventsAnswer, AppendEventsRequest, Event, Json, ProducedEvent
from watchglass.protocol.execution import ExecutionSpec
from watchglass.protocol.feed_v2 import EventsAnswer
from watchglass.protocol.lifecycle import Phase, WorkerStatus
from watchglass.protocol.observers import Observer
from watchglass.protocol.runtime import (
    DrainRequest,
    HealthAnswer,
    ReadyAnswer,
    RuntimeDiagnostic,
    RuntimeEventBatch,
    RuntimeEventCursor,
    RuntimeResources,
    RuntimeSummary,
)
from watchglass.protocol.workers import (
    CreateWorkerRequest,
    LifecycleAnswer,
    LifecycleRequest,
    SignalRequest,
    TranscriptProjection,
    WorkerDetail,
    WorkerExplanation,
    WorkerInput,
    WorkerInteractionAck,
    WorkerLifecycleAck,
    WorkersAnswer,
)

from . import endpoints
from .call import Answer, Call

_IDEMPOTENCY_BYTES: Final = 16
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+)\Z")


@dataclass(frozen=True, slots=True)
class LogPiece:
    """Bytes of a worker's log: `content` begins at `offset`, and the whole log has `size_bytes` by now."""

    content: bytes
    offset: int
    size_bytes: int

    @property
    def next_offset(self) -> int:
        """Where to read on."""
        return self.offset + len(self.content)


def runtime() -> Call[RuntimeSummary]:
    """The runtime in one object."""
    return endpoints.SHOW_RUNTIME.call(lambda answer: answer.runtime)


def resources() -> Call[RuntimeResources]:
    """Who holds which part of the capacity, and what the others wait for."""
    return endpoints.SHOW_RESOURCES.call(lambda answer: answer.resources)


def capabilities() -> Call[Capabilities]:
    """What this host can do for workers, as it was found by doing it."""
    return endpoints.CAPABILITIES.call(lambda answer: answer.capabilities)


def probe() -> Call[Capabilities]:
    """The same, found anew."""
    return endpoints.PROBE.call(lambda answer: answer.capabilities)


def plan_worker(request: CreateWorkerRequest) -> Call[PlanAnswer]:
    """What a creation would come to; nothing is started, and nothing is written."""
    return endpoints.PLAN_WORKER.call(lambda answer: answer, body=request)


def drain(reason: str | None = None) -> Call[RuntimeSummary]:
    """End every worker, then the server, which does it after its answer."""
    return endpoints.DRAIN.call(lambda answer: answer.runtime, body=DrainRequest(reason=reason))


def diagnostics() -> Call[list[RuntimeDiagnostic]]:
    """The newest notes for an operator, oldest first."""
    return endpoints.DIAGNOSTICS.call(lambda answer: answer.diagnostics)


def observers(worker_id: str | None = None) -> Call[list[Observer]]:
    """Who watches, all or one worker's, and how far behind each one is."""
    return endpoints.OBSERVERS.call(lambda answer: answer.observers, query={"worker_id": worker_id})


def runtime_events(
    cursor: RuntimeEventCursor | None = None, *, limit: int | None = None
) -> Call[RuntimeEventBatch]:
    """A batch of the runtime's own events, from `cursor` (the `next_cursor` of the batch before) on."""
    text = None if cursor is None else cursor.model_dump_json()
    return endpoints.RUNTIME_EVENTS.call(lambda batch: batch, query={"cursor": text, "limit": limit})


def list_workers(
    *,
    status: WorkerStatus | str | None = None,
    phase: Phase | str | None = None,
    labels: Mapping[str, str] | None = None,
    limit: int | None = None,
    after: str | None = None,
) -> Call[WorkersAnswer]:
    """The workers in order of creation: `.workers`, and `.next_after` when `limit` has left some out."""
    label = [f"{name}={value}" for name, value in (labels or {}).items()]
    asked = {"status": status, "phase": phase, "label": label, "limit": limit, "after": after}
    return endpoints.LIST_WORKERS.call(lambda answer: answer, query=asked)


def create_worker(
    request: CreateWorkerRequest | None = None,
    *,
    program: str | None = None,
    args: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    speech: Literal["text", "jsonl"] | None = None,
    worker_id: str | None = None,
    initial_input: str | None = None,
    metadata: Mapping[str, str] | None = None,
    idempotency_key: str | None = None,
) -> Call[WorkerDetail]:
    """Create a worker, and start its program when it has one and there is room.

    `request` may say everything; the other arguments, what most workers need.
    Those that are given go before what `request` says. Without a program the
    worker is passive. With an `idempotency_key` (1 to 255 characters) a
    repetition gets the same worker; without one, a repetition by this client does.
    """
    given: dict[str, object] = {}
    if program is not None:
        given["execution"] = ExecutionSpec(program=program, args=list(args), env=dict(env or {}), cwd=cwd)
    elif args or env or cwd is not None:
        raise ValueError("args, env and cwd are of a program; name it, or give them in the request")
    if initial_input is not None:
        given["initial_input"] = WorkerInput(content=initial_input)
    given |= {"speech": speech, "worker_id": worker_id}
    if metadata is not None:
        given["metadata"] = dict(metadata)
    said = {} if request is None else {name: getattr(request, name) for name in request.model_fields_set}
    said |= {name: value for name, value in given.items() if value is not None}
    return endpoints.CREATE_WORKER.call(
        lambda answer: answer.worker,
        body=CreateWorkerRequest.model_validate(said),
        headers={"Idempotency-Key": idempotency_key or secrets.token_hex(_IDEMPOTENCY_BYTES)},
    )


def worker(worker_id: str) -> Call[WorkerDetail]:
    """A worker, whole."""
    return endpoints.SHOW_WORKER.call(lambda answer: answer.worker, worker_id)


def remove_worker(worker_id: str) -> Call[None]:
    """Forget an ended worker, its journal and its files."""
    return endpoints.REMOVE_WORKER.call_raw(lambda _: None, worker_id)


def send_input(
    worker_id: str, content: str, *, kind: Literal["user", "system"] = "user"
) -> Call[WorkerInteractionAck]:
    """Say something to a worker; answered when it is in the journal and on its way."""
    said = WorkerInput(kind=kind, content=content)
    return endpoints.SEND_INPUT.call(lambda answer: answer.ack, worker_id, body=said)


def stop(worker_id: str, *, reason: str | None = None) -> Call[WorkerLifecycleAck]:
    """Ask a worker to leave, then make it leave; answered when it has ended."""
    return _lifecycle(endpoints.STOP, worker_id, reason)


def cancel(worker_id: str, *, reason: str | None = None) -> Call[WorkerLifecycleAck]:
    """Abandon a worker: its process tree is killed at once."""
    return _lifecycle(endpoints.CANCEL, worker_id, reason)


def interrupt(worker_id: str, *, reason: str | None = None) -> Call[WorkerLifecycleAck]:
    """End the turn and keep the worker (SIGINT)."""
    return _lifecycle(endpoints.INTERRUPT, worker_id, reason)


def signal(worker_id: str, name: str, *, reason: str | None = None) -> Call[WorkerLifecycleAck]:
    """Send a signal, such as SIGUSR1, to a worker's process group."""
    body = SignalRequest(signal=name, reason=reason)
    return endpoints.SIGNAL.call(lambda answer: answer.ack, worker_id, body=body)


def close_stdin(worker_id: str, *, reason: str | None = None) -> Call[WorkerLifecycleAck]:
    """End a worker's input after what it was sent."""
    return _lifecycle(endpoints.CLOSE_STDIN, worker_id, reason)


def transcript(
    worker_id: str, *, start: int | None = None, limit: int | None = None
) -> Call[TranscriptProjection]:
    """A window of what was said, from the oldest kept entry unless `start` is given; `next_start` goes on."""
    asked = {"start": start, "limit": limit}
    return endpoints.TRANSCRIPT.call(lambda answer: answer.transcript, worker_id, query=asked)


def append_events(worker_id: str, events: Iterable[tuple[str, Json]]) -> Call[AppendEventsAnswer]:
    """Append events, pairs of a name and its data, to a passive worker; their first and last cursor.

    Not repeated by itself: after `Unreachable` the journal tells whether they are there.
    """
    produced = [ProducedEvent(event=name, data=data) for name, data in map(Event._make, events)]
    body = AppendEventsRequest(events=produced)
    return endpoints.APPEND_EVENTS.call(lambda answer: answer, worker_id, body=body)


def poll_events(
    worker_id: str,
    cursor: str = "earliest",
    *,
    wait_s: int | None = None,
    limit: int | None = None,
    types: Iterable[str] = (),
) -> Call[EventsAnswer]:
    """The events after `cursor`, as many as there are; at the newest one, after `wait_s` seconds at most.

    Ask with the answer's `next` to go on. `follow` does all of that by itself.
    """
    asked = {"cursor": cursor, "wait_s": wait_s, "limit": limit, "types": ",".join(types) or None}
    return endpoints.POLL_EVENTS.call(lambda answer: answer, worker_id, query=asked)


def poll_all_events(
    workers: str | Iterable[str] = "*",
    cursor: str = "earliest",
    *,
    wait_s: int | None = None,
    limit: int | None = None,
    types: Iterable[str] = (),
) -> Call[EventsAnswer]:
    """The same of the runtime and of `workers`: `*` for everybody, ids, or nothing at all.

    Ask with the answer's `next` to go on. `follow_all` does all of that by itself.
    """
    named = workers if isinstance(workers, str) else ",".join(workers)
    asked = {"cursor": cursor, "wait_s": wait_s, "limit": limit, "types": ",".join(types) or None}
    return endpoints.POLL_ALL_EVENTS.call(lambda answer: answer, query={"workers": named or None, **asked})


def explain(worker_id: str) -> Call[WorkerExplanation]:
    """Why a worker is where it is."""
    return endpoints.EXPLAIN.call(lambda answer: answer.explanation, worker_id)


def read_log(
    worker_id: str,
    stream: Literal["stdout", "stderr"] = "stdout",
    *,
    offset: int = 0,
    limit: int | None = None,
) -> Call[LogPiece]:
    """The exact bytes that a worker wrote so far, or those that are asked for."""
    asked = {"offset": offset, "limit": limit}
    return endpoints.READ_LOG.call_raw(_log_piece, worker_id, query=asked, stream=stream)


def metrics() -> Call[str]:
    """Counters and gauges in Prometheus' text format."""
    return endpoints.METRICS.call_raw(lambda answer: answer.content.decode())


def health() -> Call[HealthAnswer]:
    """Whether the process answers."""
    return endpoints.HEALTH.call(lambda answer: answer)


def ready() -> Call[ReadyAnswer]:
    """Whether work is taken: the store was really written to."""
    return endpoints.READY.call(lambda answer: answer)


def _lifecycle(
    endpoint: endpoints.Endpoint[LifecycleAnswer], worker_id: str, reason: str | None
) -> Call[WorkerLifecycleAck]:
    return endpoint.call(lambda answer: answer.ack, worker_id, body=LifecycleRequest(reason=reason))


def _log_piece(answer: Answer) -> LogPiece:
    match = _CONTENT_RANGE.match(answer.headers.get("content-range", ""))
    if match is None:
        raise ValueError("no Content-Range")
    size_bytes = int(match[2])
    offset = size_bytes if match[1] is None else int(match[1])
    return LogPiece(answer.content, offset, size_bytes)
