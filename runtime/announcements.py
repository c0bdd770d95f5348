"""What a runtime tells of its workers and of itself: events in its own log, and diagnostics."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Literal, NamedTuple

from watchglass.protocol.all_workers import WORKER_REMOVED
from watchglass.protocol.cursor import Seq, encode_cursor
from watchglass.protocol.errors import InvalidQuery, LimitTooLarge, WrongRuntimeCursor
from watchglass.protocol.event_filter import event_name
from watchglass.protocol.events import Event
from watchglass.protocol.frames import decode_event
from watchglass.protocol.identity import RuntimeId, WorkerId, WorkerRef
from watchglass.protocol.runtime import (
    RuntimeDiagnostic,
    RuntimeEvent,
    RuntimeEventBatch,
    RuntimeEventCursor,
    RuntimeEventKind,
)
from watchglass.store.base import Finding, Log, Record

from .journal import Journal
from .worker import Worker

DIAGNOSTICS_MAX = 1000
Severity = Literal["info", "warning", "error"]


class _Noted(NamedTuple):
    """A diagnostic that nobody asked for yet: a start notes two of each worker, and most are never seen."""

    number: int
    severity: Severity
    code: str
    message: str
    ref: WorkerRef | None


class Announcements:
    """The runtime's own log, and the newest diagnostics."""

    def __init__(self, runtime_id: RuntimeId, log: Log, batch_items_max: int) -> None:
        self._runtime_id = runtime_id
        self._log = log
        self._journal = Journal(log, lambda: None)
        self._turn = asyncio.Lock()  # Many tell; the journal takes one at a time.
        self._batch_items_max = batch_items_max
        self._diagnostics: deque[_Noted] = deque(maxlen=DIAGNOSTICS_MAX)
        self.diagnostic_count = 0

    async def tell(self, kind: RuntimeEventKind, message: str, ref: WorkerRef | None = None) -> None:
        """Append one runtime event; it waits for room when the store has none."""
        data = {"message": message, "worker_ref": None if ref is None else ref.model_dump()}
        async with self._turn:
            await self._journal.tell(Event(kind, data))

    async def tell_created(self, worker: Worker) -> None:
        """Tell of a new worker, of what it came without, and of what happened to it meanwhile."""
        self.diagnose_creation(worker)
        created = f"worker {worker.worker_id} created"
        await self.tell(RuntimeEventKind.WORKER_CREATED, created, worker.ref)
        while worker.untold:
            await self.tell(*worker.untold.pop(0), worker.ref)
        worker.announced = True

    def diagnose_creation(self, worker: Worker) -> None:
        """Note what a worker came without."""
        request = worker.record.request
        if request.config_bundle is None:
            text = "no config bundle: local defaults are used"
            self._diagnose("info", "runtime.local_default_resources", text, worker.ref)
        if not request.requested_capabilities:
            text = "no requested capabilities: the worker has no tools"
            self._diagnose("info", "worker.tools_less", text, worker.ref)

    def diagnose_finding(self, finding: Finding) -> None:
        """Note what the store found when it was opened."""
        worker_id = finding.worker_id
        ref = None if worker_id is None else WorkerRef(runtime_id=self._runtime_id, worker_id=worker_id)
        self._diagnose(finding.severity, finding.code, finding.message, ref)

    def diagnose_left(self, worker: Worker, reason: str) -> None:
        """Note that a worker of an earlier runtime could not be taken over."""
        self._diagnose("error", "worker.not_taken_over", reason, worker.ref)

    async def tell_of(self, worker: Worker, kind: RuntimeEventKind, message: str) -> None:
        """Tell of a worker, but never before its creation."""
        if worker.announced:
            await self.tell(kind, message, worker.ref)
        else:
            worker.untold.append((kind, message))

    async def tell_removed(self, worker: Worker) -> None:
        """Tell that a worker left with its events, and of which sequences they were."""
        message = f"worker {worker.worker_id} removed"
        data = {"message": message, "worker_ref": worker.ref.model_dump(), **left_with(worker)}
        async with self._turn:
            await self._journal.tell(Event(WORKER_REMOVED, data))

    @property
    def diagnostics(self) -> list[RuntimeDiagnostic]:
        """The newest ones that are kept."""
        return [
            RuntimeDiagnostic(id=number, severity=severity, code=code, message=message, worker_ref=ref)
            for number, severity, code, message, ref in self._diagnostics
        ]

    async def batch(
        self, cursor: RuntimeEventCursor | None, limit: int | None, only: WorkerId | None = None
    ) -> RuntimeEventBatch:
        """Runtime events from a cursor on (none: from the oldest kept one).

        With `only`, those of this worker among them; there may be none, and more behind.

        Raises:
            WrongRuntimeCursor: Another runtime gave the cursor out.
            LimitTooLarge: Over the runtime's maximum.
            InvalidQuery: The cursor lies ahead of the newest event.
            CursorExpired: Events from there on were dropped by retention.
        """
        limit = self._batch_items_max if limit is None else limit
        if limit > self._batch_items_max:
            raise LimitTooLarge("limit", limit, self._batch_items_max)
        after = self._log.trimmed_through
        if cursor is not None:
            if cursor.runtime_id != self._runtime_id:
                raise WrongRuntimeCursor(cursor.runtime_id, self._runtime_id)
            after = Seq(max(0, cursor.next_event_id - 1))
            if after > self._log.head:
                newest = RuntimeEventCursor(runtime_id=self._runtime_id, next_event_id=self._log.head + 1)
                raise InvalidQuery(
                    "cursor",
                    cursor.model_dump_json(),
                    f"lies ahead of the newest, {newest.model_dump_json()}",
                )
        records = await self._log.read(after=after, max_records=limit)
        last = records[-1].seq if records else after
        told = (record for record in records if event_name(record.line) in _KINDS)
        return RuntimeEventBatch(
            events=[event for event in map(_runtime_event, told) if _is_of(event, only)],
            next_cursor=RuntimeEventCursor(runtime_id=self._runtime_id, next_event_id=last + 1),
            has_more=last < self._log.head,
        )

    def _diagnose(self, severity: Severity, code: str, message: str, ref: WorkerRef | None) -> None:
        self.diagnostic_count += 1
        self._diagnostics.append(_Noted(self.diagnostic_count, severity, code, message, ref))


_KINDS = frozenset(RuntimeEventKind)


def left_with(worker: Worker) -> dict[str, str | None]:
    """Of which sequences the events were that leave with a worker; none of one that was imported."""
    log = worker.log
    if worker.record.imported or not log.head:
        return {"oldest": None, "head": None}
    return {"oldest": encode_cursor(log.oldest), "head": encode_cursor(log.head)}


def _is_of(event: RuntimeEvent, worker_id: WorkerId | None) -> bool:
    """Whether an event is of this worker (None: of anything)."""
    ref = event.worker_ref
    return worker_id is None or (ref is not None and ref.worker_id == worker_id)


def _runtime_event(record: Record) -> RuntimeEvent:
    name, data = decode_event(record.line)
    ref = data["worker_ref"]
    return RuntimeEvent(
        id=record.seq,
        worker_ref=None if ref is None else WorkerRef.model_validate(ref),
        kind=RuntimeEventKind(name),
        message=data["message"],
    )
