"""The methods of a session: names to operations, with what each takes of `params`.

    worker_id, task_id       what the path says in REST
    the query's parameters   as JSON values
    the body's fields        beside them, validated as the body is
    idempotency_key, owner   what REST has in a header

`protocol.session.METHODS` says which REST operation each is.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

from watchglass.protocol.base import Wire
from watchglass.protocol.errors import InvalidRequest, RuntimeFault
from watchglass.protocol.events import AppendEventsRequest
from watchglass.protocol.identity import WorkerId, parse_worker_id
from watchglass.protocol.parsing import params_decoder
from watchglass.protocol.runtime import DrainRequest
from watchglass.protocol.session import METHODS, Json, Route
from watchglass.protocol.tasks import KillTaskRequest, SubmitTaskRequest
from watchglass.protocol.workers import CreateWorkerRequest, LifecycleRequest, SignalRequest, WorkerInput
from watchglass.runtime import Runtime

from . import permits, runtime_operations, task_operations, worker_operations
from .auth import OPEN_PATHS, Access
from .callers import Caller
from .leaving import Leaving
from .observers import Observers
from .queries import (
    EventBatchQuery,
    ObserversQuery,
    Query,
    StatusQuery,
    TasksQuery,
    TranscriptQuery,
    WorkersQuery,
    checked_idempotency_key,
    checked_query,
)

M = TypeVar("M", bound=Wire)
Q = TypeVar("Q", bound=Query)

_WORKER: Final = "worker_id"
_TASK: Final = "task_id"

Result = Wire | Sequence[Wire] | None


@dataclass(frozen=True, slots=True)
class Large:
    """An answer that may have megabytes, and waits for a disk: made when there is room for it."""

    make: Callable[[], Coroutine[Any, Any, Result]]
    first: Coroutine[Any, Any, None] | None = None
    """What comes before that, and may take its time."""


Outcome = Result | Coroutine[Any, Any, Result] | Large
"""What a command came to, or comes to when it is awaited."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What commands are done with."""

    runtime: Runtime
    leaving: Leaving
    observers: Observers
    access: Access
    address: str
    """The address that this connection came to."""
    caller: Caller

    def fault_of(self, route: Route, named: str | None = None) -> RuntimeFault | None:
        """Why the caller may not do what this operation of REST does, by what its token says now."""
        if route.path in OPEN_PATHS:
            return None
        return self.access.fault_of(self.caller, permits.of_route(*route, named))


class Asked:
    """One command: the params that it was asked with, and the frame that they are from."""

    __slots__ = ("desk", "frame", "params", "runtime")

    def __init__(self, desk: Desk, frame: str | bytes, params: Json) -> None:
        self.desk = desk
        self.runtime = desk.runtime
        self.frame = frame
        self.params = params

    @property
    def only(self) -> WorkerId | None:
        """The one worker that there is for whoever asks; None: all."""
        return self.desk.caller.only_worker

    def text(self, name: str) -> str | None:
        """A param that is a text, or is not said. Raises InvalidRequest."""
        value = self.params.get(name)
        if value is not None and not isinstance(value, str):
            raise InvalidRequest(f"{name}: input should be a valid string")
        return value

    def id(self, name: str) -> str:
        """The id that stands in the path of REST. Raises InvalidRequest, InvalidWorkerId."""
        text = self.text(name)
        if text is None:
            raise InvalidRequest(f"{name}: field required")
        return parse_worker_id(text)

    def check_permit(self, method: str) -> None:
        """Raises what REST refuses with, InvalidRequest where it is not said of whom."""
        if self.desk.caller.digest is None:
            return  # No token is asked for, or it is the one for everything.
        route = METHODS[method]
        named = next((self.id(name) for name in (_WORKER, _TASK) if f"{{{name}}}" in route.path), None)
        fault = self.desk.fault_of(route, named)
        if fault is not None:
            raise fault

    def query(self, model: type[Q]) -> Q:
        """What stands in the query of REST. Raises InvalidQuery."""
        said = self.params
        return checked_query(
            model, {name: said[name] for name in model.model_fields if said.get(name) is not None}
        )


Command = Callable[[Asked], Outcome]


def _plain(act: Callable[[Runtime], Outcome]) -> Command:
    return lambda asked: act(asked.runtime)


def _taking(model: type[M], act: Callable[[Runtime, M], Outcome]) -> Command:
    body = params_decoder(model)
    return lambda asked: act(asked.runtime, body(asked.frame))


def _of(name: str, act: Callable[[Runtime, str], Outcome]) -> Command:
    return lambda asked: act(asked.runtime, asked.id(name))


def _of_taking(name: str, model: type[M], act: Callable[[Runtime, str, M], Outcome]) -> Command:
    body = params_decoder(model)
    return lambda asked: act(asked.runtime, asked.id(name), body(asked.frame))


_creation = params_decoder(CreateWorkerRequest)
_draining = params_decoder(DrainRequest)
_killing = params_decoder(KillTaskRequest)


def _create(asked: Asked) -> Outcome:
    key = checked_idempotency_key(asked.text("idempotency_key"))
    return worker_operations.create_worker(asked.runtime, _creation(asked.frame), key)


def _drain(asked: Asked) -> Outcome:
    return runtime_operations.drain(asked.runtime, asked.desk.leaving, _draining(asked.frame))


def _show_task(asked: Asked) -> Outcome:
    tasks, task_id, wait_s = asked.runtime.tasks, asked.id("task_id"), asked.query(StatusQuery).wait_ms / 1000
    return Large(
        partial(tasks.status, task_id), tasks.wait_finished(task_id, wait_s=wait_s) if wait_s else None
    )


def _kill(asked: Asked) -> Outcome:
    tasks, task_id, owner = asked.runtime.tasks, asked.id("task_id"), asked.text("owner")
    reason = _killing(asked.frame).reason
    return Large(partial(tasks.status, task_id), tasks.end(task_id, owner=owner, reason=reason))


def _list_workers(asked: Asked) -> Outcome:
    return worker_operations.list_workers(asked.runtime, asked.query(WorkersQuery), only=asked.only)


def _list_tasks(asked: Asked) -> Outcome:
    return task_operations.list_tasks(asked.runtime, asked.query(TasksQuery), only=asked.only)


def _read_events(asked: Asked) -> Outcome:
    query = asked.query(EventBatchQuery)
    return Large(partial(runtime_operations.read_events, asked.runtime, query, only=asked.only))


def _show_transcript(asked: Asked) -> Outcome:
    worker_id, query = asked.id("worker_id"), asked.query(TranscriptQuery)
    return Large(partial(worker_operations.show_transcript, asked.runtime, worker_id, query))


def _list_task_events(asked: Asked) -> Outcome:
    return Large(partial(task_operations.list_task_events, asked.runtime, asked.id("task_id")))


def _list_observers(asked: Asked) -> Outcome:
    observers, query = asked.desk.observers, asked.query(ObserversQuery)
    return runtime_operations.list_observers(asked.runtime, observers, query, only=asked.only)


def _explain(asked: Asked) -> Outcome:
    worker_id, names_others = asked.id("worker_id"), asked.only is None
    return worker_operations.explain_worker(asked.runtime, worker_id, names_others=names_others)


def _config(asked: Asked) -> Outcome:
    return asked.runtime.task_runtime.config(asked.desk.address)


def _health(_asked: Asked) -> Outcome:
    return runtime_operations.show_health()


COMMANDS: Final[dict[str, Command]] = {
    "runtime.get": _plain(runtime_operations.show_runtime),
    "runtime.resources": _plain(runtime_operations.show_resources),
    "runtime.capabilities": _plain(runtime_operations.show_capabilities),
    "runtime.probe": _plain(runtime_operations.probe_host),
    "runtime.plan": _taking(CreateWorkerRequest, runtime_operations.plan_worker),
    "runtime.drain": _drain,
    "runtime.diagnostics": _plain(runtime_operations.list_diagnostics),
    "runtime.events": _read_events,
    "runtime.observers": _list_observers,
    "runtime.health": _health,
    "runtime.ready": _plain(runtime_operations.check_ready),
    "workers.list": _list_workers,
    "workers.create": _create,
    "workers.get": _of(_WORKER, worker_operations.show_worker),
    "workers.remove": _of(_WORKER, worker_operations.remove_worker),
    "workers.input": _of_taking(_WORKER, WorkerInput, worker_operations.send_input),
    "workers.stop": _of_taking(_WORKER, LifecycleRequest, worker_operations.stop_worker),
    "workers.cancel": _of_taking(_WORKER, LifecycleRequest, worker_operations.cancel_worker),
    "workers.interrupt": _of_taking(_WORKER, LifecycleRequest, worker_operations.interrupt_worker),
    "workers.signal": _of_taking(_WORKER, SignalRequest, worker_operations.signal_worker),
    "workers.close_stdin": _of_taking(_WORKER, LifecycleRequest, worker_operations.close_stdin),
    "workers.append_events": _of_taking(_WORKER, AppendEventsRequest, worker_operations.append_events),
    "workers.transcript": _show_transcript,
    "workers.explain": _explain,
    "tasks.submit": _taking(SubmitTaskRequest, task_operations.submit_task),
    "tasks.list": _list_tasks,
    "tasks.get": _show_task,
    "tasks.kill": _kill,
    "tasks.events": _list_task_events,
    "tasks.runtime_info": lambda asked: asked.runtime.task_runtime.info(),
    "tasks.runtime_capabilities": lambda asked: asked.runtime.task_runtime.capabilities(),
    "tasks.runtime_config": _config,
    "tasks.runtime_resources": lambda asked: asked.runtime.task_runtime.resources(),
}

STATUS_OF: Final = {"runtime.drain": 202, "workers.remove": 204}
"""What is answered when all is well; the others with 200."""
