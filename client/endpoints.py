"""The endpoints of a runtime: method, path, what goes in, what comes out (docs/http.md, "Endpoints").

One table for every client; `task_endpoints.py` has its part for `/api/v1`. An
answer is read as its model; where the table has none, it is bytes or nothing at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Generic, TypeVar
from urllib.parse import quote

from watchglass.protocol.base import Wire
from watchglass.protocol.capabilities import CapabilitiesAnswer, PlanAnswer
from watchglass.protocol.errors import InvalidWorkerId
from watchglass.protocol.events import AppendEventsAnswer, AppendEventsRequest
from watchglass.protocol.feed_v2 import EventsAnswer
from watchglass.protocol.identity import id_fault
from watchglass.protocol.observers import ObserversAnswer
from watchglass.protocol.runtime import (
    DiagnosticsAnswer,
    DrainRequest,
    HealthAnswer,
    ReadyAnswer,
    ResourcesAnswer,
    RuntimeAnswer,
    RuntimeEventBatch,
)
from watchglass.protocol.workers import (
    CreateWorkerRequest,
    ExplanationAnswer,
    ImportAnswer,
    InteractionAnswer,
    LifecycleAnswer,
    LifecycleRequest,
    SignalRequest,
    TranscriptAnswer,
    WorkerAnswer,
    WorkerInput,
    WorkersAnswer,
)

from .call import ANSWER_TIMEOUT_S, END_TIMEOUT_S, UPLOAD_TIMEOUT_S, Answer, Call, Query
from .faults import ApiError

A = TypeVar("A")
M = TypeVar("M", bound=Wire)

_WORKER = "/v1/workers/{worker_id}"


@dataclass(frozen=True, slots=True)
class Place:
    """Method and path. `repeatable`: see `Call`."""

    method: str
    path: str
    takes: type[Wire] | None = None
    timeout_s: float = ANSWER_TIMEOUT_S
    repeatable: bool = False

    def call_raw(
        self,
        read: Callable[[Answer], A],
        worker_id: str = "",
        *,
        body: Wire | None = None,
        query: Query | None = None,
        headers: Mapping[str, str] | None = None,
        **names: str,
    ) -> Call[A]:
        """A request to it, whose answer is read as it came. `names` fill what else the path leaves open."""
        return Call(
            method=self.method,
            path=self._filled(worker_id, names),
            read_answer=read,
            query=query or {},
            content=None if body is None else body.model_dump_json().encode(),
            headers={**({} if body is None else {"Content-Type": "application/json"}), **(headers or {})},
            timeout_s=self.timeout_s,
            repeatable=self.repeatable or self.method == "GET",
        )

    def _filled(self, ident: str, names: Mapping[str, str]) -> str:
        """The path with the id of a worker, or of the task that it is."""
        if "{worker_id}" not in self.path and "{task_id}" not in self.path:
            return self.path
        fault = id_fault(ident)
        if fault is not None:  # As the runtime would answer; a path with `..` would ask for something else.
            code = "invalid_input" if self.path.startswith("/api/") else InvalidWorkerId.code
            raise ApiError(400, code, str(InvalidWorkerId(ident, fault)))
        quoted = quote(ident, safe="")
        return self.path.format(worker_id=quoted, task_id=quoted, **names)


@dataclass(frozen=True, slots=True)
class Endpoint(Place, Generic[M]):
    """A place that answers with a model."""

    answer: type[M] | None = None

    def call(
        self,
        read: Callable[[M], A],
        worker_id: str = "",
        *,
        body: Wire | None = None,
        query: Query | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Call[A]:
        """A request to it; `read` takes out of the model what the caller wants."""
        return self.call_raw(
            lambda answer: read(self.model(answer)), worker_id, body=body, query=query, headers=headers
        )

    def model(self, answer: Answer) -> M:
        """The answer as its model. Raises ValueError."""
        assert self.answer is not None, "the table names a model for every endpoint"
        return self.answer.model_validate_json(answer.content)


def _get(path: str, answer: type[M]) -> Endpoint[M]:
    return Endpoint("GET", path, answer=answer)


def _act(act: str, takes: type[Wire] = LifecycleRequest) -> Endpoint[LifecycleAnswer]:
    return Endpoint("POST", f"{_WORKER}/{act}", takes, answer=LifecycleAnswer)


def _end(act: str) -> Endpoint[LifecycleAnswer]:
    """Repeating stop or cancel changes nothing (worker runtime contract)."""
    return Endpoint(
        "POST",
        f"{_WORKER}/{act}",
        LifecycleRequest,
        timeout_s=END_TIMEOUT_S,
        repeatable=True,
        answer=LifecycleAnswer,
    )


SHOW_RUNTIME: Final = _get("/v1/runtime", RuntimeAnswer)
SHOW_RESOURCES: Final = _get("/v1/runtime/resources", ResourcesAnswer)
CAPABILITIES: Final = _get("/v1/runtime/capabilities", CapabilitiesAnswer)
PROBE: Final = Endpoint("POST", "/v1/runtime/probe", repeatable=True, answer=CapabilitiesAnswer)
POLL_TIMEOUT_S: Final = 90.0
"""A long poll may take a minute (docs/feed.md) before it is answered."""
PLAN_WORKER: Final = Endpoint("POST", "/v1/plan", CreateWorkerRequest, repeatable=True, answer=PlanAnswer)
DRAIN: Final = Endpoint("POST", "/v1/runtime/drain", DrainRequest, repeatable=True, answer=RuntimeAnswer)
DIAGNOSTICS: Final = _get("/v1/diagnostics", DiagnosticsAnswer)
OBSERVERS: Final = _get("/v1/observers", ObserversAnswer)
RUNTIME_EVENTS: Final = _get("/v1/events/batch", RuntimeEventBatch)
LIST_WORKERS: Final = _get("/v1/workers", WorkersAnswer)
CREATE_WORKER: Final = Endpoint(
    "POST", "/v1/workers", CreateWorkerRequest, repeatable=True, answer=WorkerAnswer
)
"""Always sent with an idempotency key, so that a repetition gets the same worker."""
IMPORT_WORKER: Final = Endpoint("POST", "/v1/workers/import", timeout_s=UPLOAD_TIMEOUT_S, answer=ImportAnswer)
SHOW_WORKER: Final = _get(_WORKER, WorkerAnswer)
REMOVE_WORKER: Final = Place("DELETE", _WORKER)
SEND_INPUT: Final = Endpoint("POST", f"{_WORKER}/input", WorkerInput, answer=InteractionAnswer)
STOP: Final = _end("stop")
CANCEL: Final = _end("cancel")
INTERRUPT: Final = _act("interrupt")
SIGNAL: Final = _act("signal", SignalRequest)
CLOSE_STDIN: Final = _act("close-stdin")
TRANSCRIPT: Final = _get(f"{_WORKER}/transcript", TranscriptAnswer)
APPEND_EVENTS: Final = Endpoint("POST", f"{_WORKER}/events", AppendEventsRequest, answer=AppendEventsAnswer)
POLL_EVENTS: Final = Endpoint("GET", f"{_WORKER}/events", timeout_s=POLL_TIMEOUT_S, answer=EventsAnswer)
POLL_ALL_EVENTS: Final = Endpoint("GET", "/v1/events", timeout_s=POLL_TIMEOUT_S, answer=EventsAnswer)
EXPLAIN: Final = _get(f"{_WORKER}/explain", ExplanationAnswer)
READ_LOG: Final = Place("GET", f"{_WORKER}/logs/{{stream}}")
EXPORT_WORKER: Final = Place("GET", f"{_WORKER}/export")
HEALTH: Final = _get("/healthz", HealthAnswer)
READY: Final = _get("/readyz", ReadyAnswer)
METRICS: Final = Place("GET", "/metrics")

ENDPOINTS: Final = (
    SHOW_RUNTIME,
    SHOW_RESOURCES,
    CAPABILITIES,
    PROBE,
    PLAN_WORKER,
    DRAIN,
    DIAGNOSTICS,
    OBSERVERS,
    RUNTIME_EVENTS,
    LIST_WORKERS,
    CREATE_WORKER,
    IMPORT_WORKER,
    SHOW_WORKER,
    REMOVE_WORKER,
    SEND_INPUT,
    STOP,
    CANCEL,
    INTERRUPT,
    SIGNAL,
    CLOSE_STDIN,
    TRANSCRIPT,
    APPEND_EVENTS,
    POLL_EVENTS,
    POLL_ALL_EVENTS,
    EXPLAIN,
    READ_LOG,
    EXPORT_WORKER,
    HEALTH,
    READY,
    METRICS,
)
