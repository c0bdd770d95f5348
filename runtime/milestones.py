"""What the journal of a task says of its way, beside what every journal says.

The task contract has an event for each step. Steps that a journal has anyway
(`status`, `exit`, what the ledger tells) are not said twice; of the rest, a task's
journal has one event each. A worker that is no task gets none of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from watchglass.protocol.events import Event
from watchglass.protocol.execution import ExecutionPlan
from watchglass.protocol.lifecycle import Cue
from watchglass.store.worker_record import WorkerRecord

SUBMITTED, PLANNED, DEGRADED = "submitted", "execution_plan", "degraded"
KILL_REQUESTED, TIMEOUT_TRIGGERED, RECOVERED = "kill_requested", "timeout_triggered", "recovered"


def opening(record: WorkerRecord, accepted: Event) -> Sequence[Event]:
    """The first events of a journal; `accepted` is what every worker's begins with."""
    planned = [] if record.plan is None else [plan_event(record.plan)]
    if record.task is None:
        return [accepted, *planned]
    return [Event(SUBMITTED, {}), accepted, *planned, *_degraded(record.plan)]


def plan_event(plan: ExecutionPlan) -> Event:
    """What a worker gets of what was asked for it."""
    return Event(PLANNED, plan.model_dump(mode="json"))


def kill_requested(record: WorkerRecord, cue: Cue, reason: str | None) -> Sequence[Event]:
    """Somebody asked the task to leave (STOP), or abandoned it (CANCEL)."""
    return _of_task(record, Event(KILL_REQUESTED, {"by": cue, "reason": reason}))


def timeout_triggered(record: WorkerRecord) -> Sequence[Event]:
    """The wall time was over before the task was."""
    wall_time_ms = record.request.limits.wall_time_ms
    return _of_task(record, Event(TIMEOUT_TRIGGERED, {"wall_time_ms": wall_time_ms}))


def recovered(record: WorkerRecord) -> Sequence[Event]:
    """Another runtime on the same store goes on with the task."""
    return _of_task(record, Event(RECOVERED, {}))


def _degraded(plan: ExecutionPlan | None) -> Sequence[Event]:
    if plan is None or not plan.degraded:
        return []
    return [Event(DEGRADED, {"fallback_reasons": plan.fallback_reasons})]


def _of_task(record: WorkerRecord, event: Event) -> Sequence[Event]:
    return [] if record.task is None else [event]
