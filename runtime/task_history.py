"""A task's events: its journal in the task contract's words.

Pure. Each event of the contract is one event of the journal, and has its sequence
and its time; what the task itself says is none. A step that can come once is told
once, however often a restart says it again.

    status accepted · running · succeeded · failed, lost · stopped, cancelled
        ─▶ accepted · started · finished  · failed       · cancelled
    submitted, degraded, kill_requested, timeout_triggered, recovered: as they are
    execution_plan ─▶ planned
    reserved, released ─▶ resource_reserved, resource_released
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import orjson

from watchglass.protocol.cursor import Seq
from watchglass.protocol.errors import CursorExpired
from watchglass.protocol.events import Json
from watchglass.protocol.lifecycle import Phase
from watchglass.protocol.tasks import TaskEvent, TaskEventType, TaskId
from watchglass.store.base import Log, Record

from . import milestones

_STEPS: Final[dict[str, TaskEventType]] = {
    milestones.SUBMITTED: TaskEventType.SUBMITTED,
    milestones.PLANNED: TaskEventType.PLANNED,
    milestones.DEGRADED: TaskEventType.DEGRADED,
    milestones.KILL_REQUESTED: TaskEventType.KILL_REQUESTED,
    milestones.TIMEOUT_TRIGGERED: TaskEventType.TIMEOUT_TRIGGERED,
    milestones.RECOVERED: TaskEventType.RECOVERED,
    "reserved": TaskEventType.RESOURCE_RESERVED,
    "released": TaskEventType.RESOURCE_RELEASED,
}
_PHASES: Final[dict[Phase, TaskEventType]] = {
    Phase.ACCEPTED: TaskEventType.ACCEPTED,
    Phase.RUNNING: TaskEventType.STARTED,
    Phase.SUCCEEDED: TaskEventType.FINISHED,
    Phase.FAILED: TaskEventType.FAILED,
    Phase.LOST: TaskEventType.FAILED,
    Phase.STOPPED: TaskEventType.CANCELLED,
    Phase.CANCELLED: TaskEventType.CANCELLED,
}
_ENDS: Final = frozenset({TaskEventType.FINISHED, TaskEventType.FAILED, TaskEventType.CANCELLED})
_OFTEN: Final = frozenset({TaskEventType.RECOVERED})
"""The one step that comes with each restart."""
_NAME: Final = re.compile(rb'"payload":\{"event":"(\w+)"')
_READ: Final = frozenset(name.encode() for name in (*_STEPS, "status", "exit", "error"))


class History:
    """The fold: records of a journal in, events out."""

    def __init__(self, task_id: TaskId) -> None:
        self._task_id = task_id
        self._told: set[TaskEventType] = set()
        self._exit: Json = {}
        self._why: str | None = None

    def feed(self, records: Iterable[Record]) -> Iterator[TaskEvent]:
        """The events that these records are, in order."""
        for record in records:
            name = _NAME.search(record.line)
            if name is None or name[1] not in _READ:
                continue  # What the task says: most of a journal, and not looked into.
            envelope = orjson.loads(record.line)
            payload = envelope["payload"]
            event = self._translated(payload["event"], payload["data"])
            if event is not None:
                kind, message, data = event
                yield TaskEvent(
                    seq=record.seq,
                    task_id=self._task_id,
                    event_type=kind,
                    timestamp=envelope["ts"],
                    message=message,
                    data=data or None,
                )

    def _translated(self, name: str, data: Json) -> tuple[TaskEventType, str | None, Json] | None:
        if name == "exit":
            self._exit = {"exit_code": data["code"], "exit_signal": data["signal"], "reason": data["reason"]}
        elif name == "error":
            self._why = data["message"]
        kind = _PHASES.get(data["phase"]) if name == "status" else _STEPS.get(name)
        if kind is None or (kind in self._told and kind not in _OFTEN):
            return None
        self._told.add(kind)
        if kind in _ENDS:
            return kind, self._why, self._exit
        return kind, _message(kind, data), {} if name == "status" else data


def _message(kind: TaskEventType, data: Json) -> str | None:
    if kind is TaskEventType.DEGRADED:
        return "; ".join(data["fallback_reasons"])
    if kind is TaskEventType.KILL_REQUESTED:
        return str(data["reason"]) if data["reason"] else None
    if kind is TaskEventType.TIMEOUT_TRIGGERED:
        return f"the wall time of {data['wall_time_ms']} ms is over"
    return None


async def read_history(task_id: TaskId, log: Log) -> Sequence[TaskEvent]:
    """All that is kept of a task's events.

    Raises:
        StoreIo, StoreMissing, StoreCorrupt: The log cannot be read.
    """
    history, after, told = History(task_id), log.trimmed_through, list[TaskEvent]()
    while after < log.head:
        try:
            records = await log.read(after=after)
        except CursorExpired:
            after = Seq(max(after, log.trimmed_through))
            continue
        told += history.feed(records)
        after = records[-1].seq
    return told
