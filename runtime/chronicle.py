"""What happens in a runtime, whoever says it: the logs of many workers, each set of them read as one.

    append ─▶ heard, in the step in which it is visible ─▶ once a turn of the loop: every
              merged log that wants it takes it, as far as `visible_through`

An append costs the same however many workers there are: it is put on a list, and
only while somebody watches. Readers of the same workers share one `MergedLog`.
The rest is written where it is kept true: `merged_log.py`, `store/merging.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

import orjson

from watchglass.protocol.all_workers import RUNTIME_NAME, WORKER_REMOVED, AllSnapshot, Chosen
from watchglass.protocol.cursor import SEQ_MAX, Seq, encode_cursor
from watchglass.protocol.errors import CursorUnknown, InvalidQuery
from watchglass.protocol.event_filter import EventFilter
from watchglass.protocol.feed_v2 import encode_control
from watchglass.protocol.identity import WorkerId
from watchglass.protocol.runtime import RuntimeSummary
from watchglass.store.base import LogClosed, Record, Store
from watchglass.store.merging import Member
from watchglass.store.numbering import ClockUs

from .catalog import Catalog
from .merged_log import MergedLog
from .worker import Worker

_NO_WORKERS: Final = b'"workers":[]'


@dataclass(frozen=True, slots=True)
class _Members:
    """The chosen workers as of now, and the runtime."""

    chosen_ids: Chosen
    catalog: Catalog
    store: Store

    def chosen(self) -> Iterator[Member]:
        return (member for member in self.everybody() if self.chosen_ids.has(member.worker_id))

    def everybody(self) -> Iterator[Member]:
        yield Member(None, self.store.runtime_log)
        for entry in self.catalog:
            if not entry.worker.record.imported:
                yield Member(entry.worker.worker_id, entry.worker.log)

    def is_gone(self, member: Member) -> bool:
        if member.worker_id is None:
            return False
        worker = self.catalog.find(member.worker_id)
        return worker is None or worker.log is not member.log

    async def was_removed(self, seq: Seq) -> bool:
        log, told = self.store.runtime_log, EventFilter([WORKER_REMOVED])
        position = Seq(max(seq, log.trimmed_through))
        while run := await log.read(after=position):
            position = run.last
            for line in told.passing(run.lines):
                left = orjson.loads(line)["payload"]["data"]
                if left["head"] is not None and left["oldest"] <= encode_cursor(seq) <= left["head"]:
                    return True
            await asyncio.sleep(0)
        return False


class Watched:
    """Some workers and their runtime: what a reader is placed in."""

    worker_id = RUNTIME_NAME
    whose = "this runtime"
    is_complete = False

    def __init__(
        self, chosen: Chosen, log: MergedLog, catalog: Catalog, summary: Callable[[], RuntimeSummary]
    ) -> None:
        self.chosen = chosen
        self.log = log
        self._catalog = catalog
        self._summary = summary

    async def wake(self) -> None:
        """Nothing of it sleeps: a snapshot has only those who have not ended."""

    def explain(self, lost: CursorUnknown) -> None:
        """Whose events retention dropped."""
        if lost.loss == "retention":
            lost.of(self.log.most_trimmed.worker_id)

    def snapshot_frame(self, most: int, bytes_max: int) -> bytes:
        """The frame that tells of the newest so many, or so much of them, as of now; it never waits."""
        active = list(self._active())
        shown: list[bytes] = []
        for worker in active[: -most - 1 : -1]:
            summary = worker.summary().model_dump_json().encode()
            bytes_max -= len(summary)
            if bytes_max < 0:
                break
            shown.append(summary)
        frame = AllSnapshot(
            as_of=encode_cursor(self.log.head),
            runtime=self._summary(),
            workers=[],
            workers_left_out=len(active) - len(shown),
        )
        before, _, behind = encode_control(frame).rpartition(_NO_WORKERS)
        return b'%b"workers":[%b]%b' % (before, b",".join(shown), behind)

    def _active(self) -> Iterator[Worker]:
        if self.chosen.ids is None or self.chosen.ids:
            for entry in self._catalog:
                if entry.worker.active and self.chosen.has(entry.worker.worker_id):
                    yield entry.worker


class Chronicle:
    """The merged logs that somebody reads, and what they hear."""

    def __init__(
        self, store: Store, catalog: Catalog, clock_us: ClockUs, summary: Callable[[], RuntimeSummary]
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._clock_us = clock_us
        self._summary = summary
        self._logs: dict[Chosen, MergedLog] = {}
        self._readers: dict[Chosen, int] = {}
        self._of_all: list[MergedLog] = []
        self._by_worker: dict[WorkerId, list[MergedLog]] = {}
        self._heard: list[tuple[WorkerId | None, Sequence[Record]]] = []
        self._late: dict[MergedLog, None] = {}
        self._is_due = False
        self._ending: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def opened(self, chosen: Chosen) -> AsyncIterator[Watched]:
        """The chosen workers as one, while the block runs.

        Raises:
            WorkerNotFound: There is none with one of these ids.
            InvalidQuery: One of them was imported, so its events are another runtime's.
        """
        self._check(chosen)
        log = self._logs.get(chosen) or self._begin(chosen)
        self._readers[chosen] += 1
        try:
            await self._wait_begun(log)
            yield Watched(chosen, log, self._catalog, self._summary)
        finally:
            self._readers[chosen] -= 1
            if not self._readers[chosen]:
                self._end(chosen)

    def _check(self, chosen: Chosen) -> None:
        for worker_id in sorted(chosen.ids or ()):
            if self._catalog.get(worker_id).worker.record.imported:
                reason = f"worker {worker_id!r} was imported; read it at /v1/workers/{worker_id}/events"
                raise InvalidQuery("workers", worker_id, reason)

    # A merged log's life.

    def _begin(self, chosen: Chosen) -> MergedLog:
        if not self._logs:
            self._store.watch(self._hear)
            self._ending = asyncio.create_task(self._wait_end(), name="chronicle")
        log = MergedLog(
            _Members(chosen, self._catalog, self._store),
            self._settle,
            self._clock_us,
            self._store.issued_through,
        )
        self._logs[chosen] = log
        self._readers[chosen] = 0
        if chosen.ids is None:
            self._of_all.append(log)
        for worker_id in chosen.ids or ():
            self._by_worker.setdefault(worker_id, []).append(log)
        return log

    async def _wait_begun(self, log: MergedLog) -> None:
        """What was issued before a log heard of anything is visible, or never will be, in a turn or two."""
        while not log.has_begun:
            self._settle()
            if not log.begin(self._store.visible_through):
                await asyncio.sleep(0)
        self._settle()

    def _end(self, chosen: Chosen) -> None:
        log = self._logs.pop(chosen)
        del self._readers[chosen]
        self._late.pop(log, None)
        if chosen.ids is None:
            self._of_all.remove(log)
        for worker_id in chosen.ids or ():
            self._by_worker[worker_id].remove(log)
            if not self._by_worker[worker_id]:
                del self._by_worker[worker_id]
        if not self._logs:
            self._store.watch(None)
            self._heard.clear()
            assert self._ending is not None
            self._ending.cancel()
            self._ending = None

    async def _wait_end(self) -> None:
        """The store closes its runtime's log last: then everybody was told everything."""
        with suppress(LogClosed):
            await self._store.runtime_log.wait(after=Seq(SEQ_MAX))
        self._settle()
        for log in self._logs.values():
            log.close()

    # What becomes visible.

    def _hear(self, worker_id: WorkerId | None, records: Sequence[Record]) -> None:
        self._heard.append((worker_id, records))
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._settle_due)

    def _settle_due(self) -> None:
        self._is_due = False
        self._settle()
        if self._late:  # What comes before these is written in this turn, or fails.
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._settle_due)

    def _settle(self) -> None:
        """Let every merged log take what it may."""
        heard, self._heard = self._heard, []
        late = self._late
        for worker_id, records in heard:
            for log in self._listeners(worker_id):
                log.hear(records)
                late[log] = None
        visible_through = self._store.visible_through
        for log in list(late):
            if log.advance(visible_through):
                del late[log]

    def _listeners(self, worker_id: WorkerId | None) -> Sequence[MergedLog]:
        if worker_id is None:
            return list(self._logs.values())
        some = self._by_worker.get(worker_id)
        return self._of_all if some is None else [*self._of_all, *some]
