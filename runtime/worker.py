"""One worker as everybody may read it; its driver alone writes it.

What it says of itself is put together from three places: the catalog's record
(what was asked), the log and its view (what was said), and the driver's state
(what it is now).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from watchglass.protocol.cursor import BEGINNING, Seq, encode_cursor
from watchglass.protocol.errors import CursorUnknown, WorkerActive
from watchglass.protocol.events import Event, Json
from watchglass.protocol.execution import Reservation, Usage
from watchglass.protocol.identity import WorkerId, WorkerRef
from watchglass.protocol.lifecycle import ENDED, Cue, Phase, advance, status_of
from watchglass.protocol.runtime import RuntimeEventKind
from watchglass.protocol.workers import (
    Face,
    WorkerDetail,
    WorkerExit,
    WorkerInteractionAck,
    WorkerLifecycleAck,
    WorkerSummary,
)
from watchglass.store.base import Log, Record
from watchglass.store.numbering import rfc3339
from watchglass.store.worker_record import WorkerEnd, WorkerRecord

from .launching import shown_program
from .views import WorkerView

ENDING_S: Final = 5.0
"""How long the last words of a worker that has just ended are waited for to be on the disk."""
_OVER = asyncio.Event()
"""What all who ended in an earlier runtime share: nobody has to wait for it."""
_OVER.set()


@dataclass(slots=True)
class Life:
    """What a worker is now. Changed by its driver, in journal order."""

    phase: Phase = Phase.ACCEPTED
    asked: Cue | None = None
    reason: str | None = None
    started_us: int | None = None
    finished_us: int | None = None
    exit: WorkerExit | None = None
    usage: Usage | None = None
    pid: int | None = None
    supervisor_pid: int | None = None
    reservation: Reservation | None = None
    reserved_us: int | None = None
    backlog_bytes: int = 0
    outage: str | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, cue: Cue) -> None:
        """Advance by the table."""
        self.phase = advance(self.phase, cue)

    def hold(self, reservation: Reservation, since_us: int) -> None:
        """The ledger holds this for the worker."""
        self.reservation, self.reserved_us = reservation, since_us

    def let_go(self) -> None:
        """The ledger holds nothing for the worker."""
        self.reservation = self.reserved_us = None

    def end(self, transcript_len: int, head: Seq = BEGINNING) -> WorkerEnd:
        """How it ended, for a record (see `WorkerEnd`); it has."""
        assert self.exit is not None
        assert self.finished_us is not None
        return WorkerEnd(
            phase=self.phase,
            started_us=self.started_us,
            finished_us=self.finished_us,
            exit=self.exit,
            usage=self.usage,
            transcript_len=transcript_len,
            head=head,
        )

    def restore(self, end: WorkerEnd) -> None:
        """An end that an earlier runtime saw."""
        self.phase = end.phase
        self.started_us = end.started_us
        self.finished_us = end.finished_us
        self.exit = end.exit
        self.usage = end.usage
        self.ended.set()
        self.ended = _OVER


class Worker:
    """A worker of the catalog."""

    log: Log

    def __init__(self, ref: WorkerRef, record: WorkerRecord) -> None:
        self.ref = ref
        self.record = record
        self.view = WorkerView(ref)
        self.life = Life()
        self.announced = False
        self._has_told_end = False
        self.untold: list[tuple[RuntimeEventKind, str]] = []
        """Runtime events that wait until the creation is told."""

    @property
    def worker_id(self) -> WorkerId:
        """The id within its runtime."""
        return self.ref.worker_id

    @property
    def active(self) -> bool:
        """Whether it has not ended."""
        return self.life.phase not in ENDED

    @property
    def passive(self) -> bool:
        """Whether it has no process: others write its journal."""
        return self.record.request.execution is None

    @property
    def face(self) -> Face:
        """As what it was asked for."""
        return Face.WORKER if self.record.task is None else Face.TASK

    @property
    def is_complete(self) -> bool:
        """Whether it has ended and its log has its end: nothing will follow."""
        return self._has_told_end or self.life.ended.is_set()

    async def wait_ended(self) -> None:
        """Return when its end is known for good, which is soon after anybody could see it.

        Raises:
            WorkerActive: It has not ended, or its end cannot be written.
        """
        if not self.active:
            with suppress(TimeoutError):
                async with asyncio.timeout(ENDING_S):
                    await self.life.ended.wait()
        if not self.life.ended.is_set():
            raise WorkerActive(self.worker_id, self.life.phase)

    @property
    def tenant(self) -> str | None:
        """On whose account it runs."""
        return self.record.request.control_context.tenant

    @property
    def reserved_at(self) -> str | None:
        """Since when it holds its reservation: the time of the event that tells of it, which outlasts us."""
        if self.life.reservation is None:
            return None
        return _time(self.view.reserved_at or self.life.reserved_us)

    @property
    def whose(self) -> str:
        """See `Subject`."""
        return "this worker"

    async def wake(self) -> None:
        """Have its view ready. Raises StoreIo, StoreMissing, StoreCorrupt: the log cannot be read."""
        await self.view.wake(self.log)

    def explain(self, lost: CursorUnknown) -> None:
        """It is this worker's events, and nobody else's."""

    def on_visible(self, records: Sequence[Record], events: Sequence[Event]) -> None:
        """Fold new events into the view, in the step in which they become visible."""
        if events and events[-1].name == "end":
            self._has_told_end = True
        self.view.apply(records, events)
        self.view.expire(self.log.trimmed_through)

    def snapshot(self) -> Json:
        """The data of a `snapshot` event as of the log's head."""
        entries = self.view.snapshot_entries()
        return {
            "entries": entries,
            "entries_start": self.view.transcript_len - len(entries),
            "transcript_len": self.view.transcript_len,
            "greeting": {**self.ref.model_dump(), "speech": self.record.request.speech},
            "status": status_of(self.life.phase),
            "phase": self.life.phase,
            "in_flight": self.view.in_flight(),
            "as_of": encode_cursor(self.log.head),
        }

    def lifecycle_ack(self) -> WorkerLifecycleAck:
        """The answer to stop, cancel and their like."""
        return WorkerLifecycleAck(
            worker_ref=self.ref,
            status=status_of(self.life.phase),
            event_id=encode_cursor(self.log.head),
            phase=self.life.phase,
        )

    def interaction_ack(self, record: Record) -> WorkerInteractionAck:
        """The answer to an input whose event was just appended."""
        return WorkerInteractionAck(
            worker_ref=self.ref,
            status=status_of(self.life.phase),
            transcript_sequence=self.view.transcript_len,
            event_id=encode_cursor(record.seq),
        )

    def summary(self) -> WorkerSummary:
        """The worker as a list shows it."""
        request = self.record.request
        return WorkerSummary(
            worker_ref=self.ref,
            runtime_id=self.ref.runtime_id,
            worker_id=self.worker_id,
            status=status_of(self.life.phase),
            intent=request.intent,
            profile=request.profile,
            requested_capability_count=len(request.requested_capabilities),
            has_config_bundle=request.config_bundle is not None,
            transcript_len=self.view.transcript_len,
            last_event_id=encode_cursor(self.log.head),
            phase=self.life.phase,
            created_at=rfc3339(self.record.created_us),
            started_at=_time(self.life.started_us),
            finished_at=_time(self.life.finished_us),
            exit=self.life.exit,
            head=encode_cursor(self.log.head),
            oldest=encode_cursor(self.log.oldest),
            metadata=request.metadata,
            program=shown_program(request.execution),
            face=self.face,
            tenant=self.tenant,
            reservation=self.life.reservation,
        )

    def detail(self) -> WorkerDetail:
        """The worker, whole; secrets are redacted."""
        request = self.record.request
        return WorkerDetail(
            worker_ref=self.ref,
            runtime_id=self.ref.runtime_id,
            worker_id=self.worker_id,
            status=status_of(self.life.phase),
            intent=request.intent,
            profile=request.profile,
            config_bundle=request.config_bundle,
            requested_capabilities=request.requested_capabilities,
            workspace_refs=request.workspace_refs,
            mount_refs=request.mount_refs,
            transcript_len=self.view.transcript_len,
            last_event_id=encode_cursor(self.log.head),
            phase=self.life.phase,
            created_at=rfc3339(self.record.created_us),
            started_at=_time(self.life.started_us),
            finished_at=_time(self.life.finished_us),
            exit=self.life.exit,
            head=encode_cursor(self.log.head),
            oldest=encode_cursor(self.log.oldest),
            metadata=request.metadata,
            speech=request.speech,
            execution=None if request.execution is None else request.execution.redacted(),
            limits=request.limits,
            control_context=request.control_context,
            execution_plan=self.record.plan,
            usage=self.life.usage,
            pid=self.life.pid,
            reservation=self.life.reservation,
            reserved_at=self.reserved_at,
            input_backlog_bytes=self.life.backlog_bytes,
            face=self.face,
        )


def _time(time_us: int | None) -> str | None:
    return None if time_us is None else rfc3339(time_us)
