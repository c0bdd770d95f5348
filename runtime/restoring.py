"""The workers of an earlier runtime, taken over at the start.

    ended      its record says how; its log is opened when somebody reads it
    passive    goes on as it was
    launched   adopted: its supervisor lives, or left its exit, or is lost
    waiting    nothing of it ever ran: it waits again, in order of creation

Whoever is adopted holds its room in the ledger before anybody new starts, as
much as its record says. Whoever waits asks anew, by the limits and defaults of
now; a reservation that its journal tells of went with the runtime that made it,
so it is told to be released.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson

from watchglass.protocol.cursor import BEGINNING, Seq
from watchglass.protocol.errors import RuntimeFault, StoreCorrupt, StoreFault
from watchglass.protocol.lifecycle import Phase
from watchglass.protocol.workers import WorkerExit
from watchglass.store.base import Log, Record, Store
from watchglass.store.worker_record import WorkerEnd, WorkerRecord

from .admission import Admission
from .announcements import Announcements
from .catalog import Entry
from .executor import Executor, Process
from .exit_reasons import usage_of
from .launching import cookie_of
from .life_events import last_words
from .uids import WorkerUids
from .views import WorkerView
from .worker import Worker

ADOPTIONS_AT_ONCE = 32
COMPLETED_AT_ONCE = 1024
LAST_WORDS = 3
"""`exit`, `status`, `end`: appended together, so their sequences are neighbours."""

_OF_A_LAUNCH = (b'"event":"reserved"', b'"event":"released"', b'"event":"status"')
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Restoration:
    """Fills a fresh runtime with what its store kept."""

    grace_ms: int
    store: Store
    executor: Executor
    uids: WorkerUids
    announcements: Announcements
    admission: Admission

    async def restore(self) -> None:
        """Take over every worker that the store has. One that cannot be is left as it is, and told of."""
        for finding in self.store.findings:
            self.announcements.diagnose_finding(finding)
        live: list[Entry] = []
        owing: list[tuple[Worker, WorkerEnd]] = []
        for record in await self.store.load():
            entry = await self.known(record)
            self.announcements.diagnose_creation(entry.worker)
            if record.end is None:
                live.append(entry)
            elif record.end.head not in {BEGINNING, entry.worker.log.head}:
                owing.append((entry.worker, record.end))
        await self._complete_all(owing)
        at_once = asyncio.Semaphore(ADOPTIONS_AT_ONCE)
        waiting = await asyncio.gather(*(self._bounded(at_once, entry) for entry in live))
        for launchable in waiting:
            if launchable is not None:
                self.admission.admit(launchable)
                self._diagnose_place(launchable.worker)

    async def known(self, record: WorkerRecord) -> Entry:
        """A worker that the store has, in the catalog; one that has ended is all there."""
        worker = self.admission.worker_of(record)
        worker.log = await self.store.open(record.worker_id, self.admission.counted(worker.on_visible))
        worker.announced = True
        if record.end is not None:
            self._lay_down(worker, record.end)
        return self.admission.enter(worker)

    async def _complete_all(self, owing: Sequence[tuple[Worker, WorkerEnd]]) -> None:
        """Many at once, so that they share what a durable append waits for: a loss of power cuts all logs."""
        for first in range(0, len(owing), COMPLETED_AT_ONCE):
            some = owing[first : first + COMPLETED_AT_ONCE]
            await asyncio.gather(*(self._complete(worker, end) for worker, end in some))

    async def _complete(self, worker: Worker, end: WorkerEnd) -> None:
        """Its log lost its end, which the record knows; without one its readers would wait for ever.

        Then the record knows its log again, so the next start need not read it. One
        whose record alone is behind, because a start ended in between, gets that.
        """
        log = worker.log
        try:
            if log.head < end.head:
                held = worker.record.reservation if await _tells_of_a_reservation(log) else None
                words = last_words(end.exit, end.phase, worker.record.reason, held=held)
                await log.append(words, durable=True)
            end = end.model_copy(update={"head": log.head})
            worker.record = worker.record.model_copy(update={"end": end})
            await self.store.save(worker.record)
        except StoreFault as fault:  # The next start tries again.
            _LOG.warning("the journal of worker %s has no end: %s", worker.worker_id, fault)

    def _lay_down(self, worker: Worker, end: WorkerEnd) -> None:
        """It has ended: what a list shows is here, the rest is read when somebody asks."""
        worker.life.restore(end)
        worker.view = WorkerView.asleep(
            worker.ref, partial(self.store.load_view, worker.worker_id), transcript_len=end.transcript_len
        )

    async def _bounded(self, at_once: asyncio.Semaphore, entry: Entry) -> Entry | None:
        async with at_once:
            try:
                return await self._take_over(entry)
            except (RuntimeFault, OSError) as fault:
                _LOG.exception("worker %s could not be taken over", entry.worker.worker_id)
                self.announcements.diagnose_left(entry.worker, f"it could not be taken over: {fault}")
                self._leave_alone(entry)
                return None

    def _leave_alone(self, entry: Entry) -> None:
        """Nobody can say what it is. Its files, and what runs of it, stay for a start that can."""
        life = entry.worker.life
        life.phase = Phase.LOST
        life.exit = WorkerExit(code=None, signal=None, reason="not_taken_over")
        life.ended.set()
        entry.driver.leave()
        entry.driver.wake()

    async def _take_over(self, entry: Entry) -> Entry | None:
        """The same entry when it has to wait for its launch."""
        worker = entry.worker
        worker.view = await self._view(worker)
        end = await _end_in(worker.log)
        if end is not None:
            await self._end_again(entry, end)
            return None
        self.admission.start_driver(entry)
        if worker.log.head == BEGINNING:  # Its creation was cut short; whoever asked for it was told nothing.
            await entry.driver.ask(entry.driver.begin)
        elif worker.passive:
            entry.driver.go_on_passive()
        else:
            await entry.driver.ask(entry.driver.resume)
        if worker.passive:
            return None
        process = await self._adopted(entry)
        if process is not None:
            await entry.driver.ask(lambda: entry.driver.adopt(process))
            return None
        await self._ask_anew(worker)
        await entry.driver.ask(entry.driver.await_launch)
        return entry if worker.active else None

    async def _view(self, worker: Worker) -> WorkerView:
        """As of its log. What cannot be read now is tried again by whoever asks.

        Damage stays: then the transcript begins anew at the head, and readers behind the damage go on.
        """
        load = partial(self.store.load_view, worker.worker_id)
        try:
            return await WorkerView.restore(worker.ref, await load(), worker.log)
        except StoreCorrupt as fault:
            self._tell_unread(worker, fault)
            view = WorkerView.from_here(worker.ref, worker.log.head)
            await self.store.save_view(worker.worker_id, view.state())
            return view
        except StoreFault as fault:
            self._tell_unread(worker, fault)
            return WorkerView.asleep(worker.ref, load)

    def _tell_unread(self, worker: Worker, fault: StoreFault) -> None:
        _LOG.warning("the transcript of worker %s cannot be read: %s", worker.worker_id, fault)
        self.announcements.diagnose_left(worker, f"its transcript cannot be read: {fault}")

    async def _adopted(self, entry: Entry) -> Process | None:
        """Its process, live or over, holding its room; None when it was never launched."""
        process = await self._found(entry)
        if process is not None:
            worker = entry.worker
            held = self.admission.asked_by(worker)
            worker.life.hold(held, worker.view.reserved_at or process.started_at_us)
            self.admission.dispatcher.restore(worker.worker_id, held, worker.tenant)
            if process.uid is not None:
                self.uids.restore(worker.worker_id, process.uid)
        return process

    async def _ask_anew(self, worker: Worker) -> None:
        """Limits are its own, but defaults, and what is accounted, may have changed."""
        asked = self.admission.asked_for(worker.record.request)
        if worker.record.reservation != asked:
            worker.record = worker.record.model_copy(update={"reservation": asked})
            try:
                await self.store.save(worker.record)
            except StoreFault as fault:  # Any later change of its record keeps it too.
                _LOG.warning("what worker %s reserves is not kept: %s", worker.worker_id, fault)

    def _diagnose_place(self, worker: Worker) -> None:
        place = self.admission.dispatcher.place(worker.worker_id)
        if place is not None and place.is_impossible:
            self.announcements.diagnose_left(
                worker, "it waits for more than the capacity or its quota allows"
            )

    async def _found(self, entry: Entry) -> Process | None:
        worker = entry.worker
        offsets = worker.log.offsets
        return await self.executor.adopt(
            self.store.directory(worker.worker_id),
            cookie=cookie_of(worker.ref),
            grace_ms=self.grace_ms,
            stdout_from=offsets.stdout,
            stderr_from=offsets.stderr,
            on_change=entry.driver.wake,
        )

    async def _end_again(self, entry: Entry, end: WorkerEnd) -> None:
        """Its log is complete, and the record does not say so yet."""
        worker = entry.worker
        told: dict[str, object] = {"transcript_len": worker.view.transcript_len}
        process = None if worker.passive else await self._found(entry)
        if process is not None:
            process.close()
            told["started_us"] = process.started_at_us
            told["usage"] = None if process.exit is None else usage_of(process.exit)
        worker.record = worker.record.ended(end.model_copy(update=told))
        assert worker.record.end is not None
        self._lay_down(worker, worker.record.end)
        entry.driver.leave()
        try:
            await self.store.save(worker.record)
        except StoreFault as fault:  # The next start finds the same again.
            _LOG.warning("the record of worker %s has no end: %s", worker.worker_id, fault)


async def _tells_of_a_reservation(log: Log) -> bool:
    """Whether a log that lost its end has a `reserved` without its `released`.

    What follows the launch need not be read: that `released` was in the append that is lost.
    """
    position, is_held = log.trimmed_through, False
    while records := await log.read(after=position):
        position = records[-1].seq
        for record in records:
            if any(mark in record.line for mark in _OF_A_LAUNCH):  # Most lines need no parsing.
                told = _payload(record)
                is_held = told["event"] == "reserved" or (is_held and told["event"] != "released")
                if is_held and told["data"].get("phase") == Phase.RUNNING:
                    return True
    return is_held


def _payload(record: Record) -> dict[str, Any]:
    told: dict[str, Any] = orjson.loads(record.line)["payload"]
    return told


async def _end_in(log: Log) -> WorkerEnd | None:
    """How a complete log says that its worker ended; None when it is not complete."""
    told: dict[str, dict[str, Any]] = {}
    try:
        last = await log.read(after=Seq(max(log.trimmed_through, log.head - LAST_WORDS)))
    except StoreCorrupt:  # Then its files say whether it runs.
        return None
    for record in last:
        payload = _payload(record)
        told[payload["event"]] = payload["data"]
    if "end" not in told or "exit" not in told:
        return None
    ended = told["exit"]
    return WorkerEnd(
        phase=Phase(told["status"]["phase"]),
        started_us=None,
        finished_us=log.head,
        head=log.head,
        exit=WorkerExit(code=ended["code"], signal=ended["signal"], reason=ended["reason"]),
        usage=None,
        transcript_len=0,
    )
