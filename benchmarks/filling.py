"""Journals on the disk, written in bulk: what years of workers leave, in seconds.

The files are those that the store writes, by the store's own writers; only the
numbering and the encoding of each event are spared. No store may be open on them.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from producers import EVENT, nobody, passive_record, worker_id

from watchglass.protocol.cursor import BEGINNING, Seq
from watchglass.protocol.events import ProducedEvent
from watchglass.protocol.execution import ExecutionSpec
from watchglass.protocol.frames import encode_envelope
from watchglass.protocol.identity import RuntimeId, WorkerId
from watchglass.protocol.workers import CreateWorkerRequest
from watchglass.runtime import RuntimeOptions, open_runtime
from watchglass.store.base import Record, StreamOffsets
from watchglass.store.filesystem import open_filesystem_store
from watchglass.store.filesystem.files import Files
from watchglass.store.filesystem.ground import SEGMENT_BYTES_MAX
from watchglass.store.filesystem.layout import Layout
from watchglass.store.filesystem.records import CompleteLog, Kept, read_record, write_record
from watchglass.store.filesystem.segment import Opening, Segment, SegmentWriter
from watchglass.store.numbering import system_clock_us

APPEND_EVENTS = 64
BATCH_EVENTS = 1000
_FILES = Files()
_NO_SEQ = b"%016x" % BEGINNING


def fill_log(root: Path, events: int, *, append_events: int = APPEND_EVENTS) -> WorkerId:
    """A store under `root` with one passive worker and so many events of it."""

    async def make() -> RuntimeId:
        async with open_filesystem_store(root) as store:
            await store.create(passive_record(0), nobody)
            return store.runtime_id

    layout = Layout(root / "runtimes" / asyncio.run(make()))
    log = _LogFiles(layout.events(worker_id(0)), worker_id(0), Seq(system_clock_us() - events))
    log.append(events, append_events)
    return worker_id(0)


def fill_ended(root: Path, workers: int, events_each: int) -> None:
    """A store under `root` with so many workers that had a process, and so many events of each.

    One of them is real, the others are like it.
    """
    runtime_id, real = asyncio.run(_run_one(root))
    layout = Layout(root / "runtimes" / runtime_id)
    like = read_record(_FILES, layout.worker(real))
    assert like is not None
    seq = Seq(system_clock_us() - workers * (events_each + 1))
    for number in range(workers - 1):
        seq = _put_ended(layout, like, worker_id(number), seq, events_each)


def fill_live(root: Path, workers: int, events_each: int) -> None:
    """A store under `root` with passive workers that a runtime has filled, batch by batch, and left."""
    asyncio.run(_fill_live(root, workers, events_each))


async def _fill_live(root: Path, workers: int, events_each: int) -> None:
    batch = [ProducedEvent(event=EVENT.name, data=EVENT.data)] * min(BATCH_EVENTS, events_each)
    async with (
        open_filesystem_store(root) as store,
        open_runtime(RuntimeOptions(keep_workers=True), store) as runtime,
    ):
        ids = [(await runtime.create_worker(CreateWorkerRequest())).worker_id for _ in range(workers)]
        for _ in range(events_each // len(batch)):
            await asyncio.gather(*(runtime.append_events(each, batch) for each in ids))


async def _run_one(root: Path) -> tuple[RuntimeId, WorkerId]:
    """One worker that has a process and ends."""
    said = CreateWorkerRequest(execution=ExecutionSpec(program="echo", args=["ready"]))
    async with open_filesystem_store(root) as store, open_runtime(store=store) as runtime:
        worker = await runtime.create_worker(said)
        async with runtime.observe(worker.worker_id, "earliest") as reader:
            async for record in reader:
                if b'"event":"end"' in record.line:
                    break
        await runtime.stop(worker.worker_id)  # Returns when its record says how it ended, too.
        return store.runtime_id, worker.worker_id


def _put_ended(layout: Layout, like: Kept, name: WorkerId, born: Seq, events: int) -> Seq:
    """A worker's folder; the newest sequence in it."""
    directory, events_directory = layout.worker(name), layout.events(name)
    _FILES.mkdir(directory, 0o700)
    _FILES.mkdir(events_directory, 0o700)
    log = _LogFiles(events_directory, name, Seq(born + 1))
    log.append(events, APPEND_EVENTS)
    newest = log.newest
    said = CompleteLog(
        head=f"{log.head:016x}",
        oldest=f"{born + 2:016x}",
        trimmed_through=_NO_SEQ.decode(),
        io=(0, 0, 0),
        segment=f"{newest.first:016x}",
        size=newest.size_bytes,
    )
    assert like.record.end is not None
    end = like.record.end.model_copy(update={"head": log.head})
    record = like.record.model_copy(update={"worker_id": name, "created_us": born, "end": end})
    write_record(_FILES, directory, Kept(record, born, log.head, said).encoded())
    return log.head


class _LogFiles:
    """The segments of one log."""

    def __init__(self, directory: str, name: WorkerId, after: Seq) -> None:
        self._directory = directory
        envelope = encode_envelope(BEGINNING, name, "2026-01-01T00:00:00.000000Z", EVENT)
        self._line = envelope.replace(b"%", b"%%").replace(_NO_SEQ, b"%016x")
        self._events = 0
        self._writer: SegmentWriter | None = None
        self.head = after

    @property
    def newest(self) -> Segment:
        """The segment that is written at present."""
        assert self._writer is not None
        return self._writer.segment

    def append(self, events: int, append_events: int) -> None:
        """So many more, so many at a time."""
        for first in range(0, events, append_events):
            begin = self.head + 1
            end = begin + min(append_events, events - first)
            line = self._line
            records = [Record(Seq(seq), line % (seq, seq)) for seq in range(begin, end)]
            self._with_room(Seq(begin)).write(records, None)
            self._events += len(records)
            self.head = Seq(end - 1)
        if self._writer is not None:
            self._writer.rest()

    def _with_room(self, first: Seq) -> SegmentWriter:
        writer = self._writer
        if writer is not None and writer.segment.size_bytes < SEGMENT_BYTES_MAX - (64 << 10):
            return writer
        if writer is not None:
            writer.rest()
        opening = Opening(self.head if self._events else BEGINNING, self._events, StreamOffsets())
        self._writer = SegmentWriter(_FILES, Segment(self._directory, first, opening=opening))
        return self._writer
