"""What can be asked of the runtime as a whole; see `worker_operations`."""

from __future__ import annotations

from watchglass import __version__
from watchglass.protocol.capabilities import CapabilitiesAnswer, PlanAnswer
from watchglass.protocol.errors import InvalidJson, InvalidQuery, InvalidRequest, WorkerNotFound
from watchglass.protocol.identity import WorkerId, parse_worker_id
from watchglass.protocol.observers import ObserversAnswer
from watchglass.protocol.parsing import decode
from watchglass.protocol.runtime import (
    DiagnosticsAnswer,
    DrainRequest,
    HealthAnswer,
    ReadyAnswer,
    ResourcesAnswer,
    RuntimeAnswer,
    RuntimeEventBatch,
    RuntimeEventCursor,
)
from watchglass.protocol.workers import CreateWorkerRequest
from watchglass.runtime import Runtime

from .leaving import Leaving
from .observers import Observers
from .queries import EventBatchQuery, ObserversQuery


def show_runtime(runtime: Runtime) -> RuntimeAnswer:
    """The runtime in one object."""
    return RuntimeAnswer(runtime=runtime.summary())


def show_resources(runtime: Runtime) -> ResourcesAnswer:
    """Who holds which part of the capacity."""
    return ResourcesAnswer(resources=runtime.resources())


def show_capabilities(runtime: Runtime) -> CapabilitiesAnswer:
    """What this host can do for workers."""
    return CapabilitiesAnswer(capabilities=runtime.described_capabilities())


async def probe_host(runtime: Runtime) -> CapabilitiesAnswer:
    """The same, found out anew."""
    await runtime.probe()
    return show_capabilities(runtime)


def plan_worker(runtime: Runtime, asked: CreateWorkerRequest) -> PlanAnswer:
    """What a creation would come to."""
    return runtime.plan_worker(asked)


def drain(runtime: Runtime, leaving: Leaving, asked: DrainRequest) -> RuntimeAnswer:
    """Have every worker ended, then the server."""
    leaving.drain(runtime.runtime_id, asked.reason)
    return show_runtime(runtime)


def list_diagnostics(runtime: Runtime) -> DiagnosticsAnswer:
    """The newest notes for an operator."""
    return DiagnosticsAnswer(diagnostics=runtime.diagnostics())


async def read_events(
    runtime: Runtime, asked: EventBatchQuery, *, only: WorkerId | None = None
) -> RuntimeEventBatch:
    """A batch of the runtime's own events; with `only`, of what is about this worker."""
    return await runtime.runtime_events(_cursor(asked.cursor), asked.limit, only=only)


async def list_observers(
    runtime: Runtime, observers: Observers, asked: ObserversQuery, *, only: WorkerId | None = None
) -> ObserversAnswer:
    """The open feeds; with `only`, those of this worker. Raises InvalidWorkerId, WorkerNotFound."""
    if asked.worker_id is not None:
        if only not in {None, parse_worker_id(asked.worker_id)}:
            raise WorkerNotFound(asked.worker_id)
        runtime.worker(asked.worker_id)
    return ObserversAnswer(observers=await observers.told(asked.worker_id or only))


def show_health() -> HealthAnswer:
    """The process answers."""
    return HealthAnswer(version=__version__)


async def check_ready(runtime: Runtime) -> ReadyAnswer:
    """Work is taken; the store was written to. Its refusals are 503."""
    await runtime.check()
    return ReadyAnswer(version=__version__)


def _cursor(text: str | None) -> RuntimeEventCursor | None:
    if text is None:
        return None
    try:
        return decode(RuntimeEventCursor, text)
    except (InvalidJson, InvalidRequest) as fault:
        raise InvalidQuery("cursor", text, f"use the next_cursor of a batch: {fault}") from None
