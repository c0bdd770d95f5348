"""One log on the disk: what is visible, and what of it is written where.

    segments  [ … ][ … ][ … │ pending ]      tail (in memory)  [ … newest ]
                            ^ written                                    ^ head

*Pending* are durable appends that stand in the write-ahead file and are
visible, but not yet in their segment. They go there before anything else of
this log does, so the order of a segment is the order of the log.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from time import perf_counter
from typing import NamedTuple

import orjson

from watchglass.protocol.cursor import BEGINNING, Seq, encode_cursor
from watchglass.protocol.errors import CursorExpired, StoreFault, StoreIo, StoreMissing
from watchglass.protocol.events import Event
from watchglass.protocol.frames import envelope_seq
from watchglass.protocol.identity import WorkerId
from watchglass.store.base import (
    READ_BYTES_MAX,
    READ_RECORDS_MAX,
    Onlooker,
    OnVisible,
    Record,
    Retention,
    Run,
    StreamOffsets,
)
from watchglass.store.numbering import Numbering
from watchglass.store.tail import Tail

from .counting import events_through, position_behind
from .files import Files, fault_of
from .loading import NO_OFFSETS, LogState, Salvage, load_log
from .reading import SegmentReader
from .replay import Bounds, Remembered, read_segments
from .segment import COMMIT_BYTES_MAX, Opening, Segment, SegmentWriter
from .sync import LogSync
from .wal import WriteAhead

SEGMENT_BYTES_MAX = 8 << 20
SEGMENTS_KEPT = 8
"""Retention drops whole segments, so a segment is at most this part of what may be kept."""
SEEN_S = 100e-6
"""For how long the workers' folders that were there are taken to be there …"""
FILE_SEEN_S = 50e-3
"""… and the files in them."""
PENDING_BYTES_MAX = 64 << 10
YOUNG_EVENTS_MAX = 16
YOUNG_BYTES_MAX = 16 << 10
"""So much of a new log stands in the write-ahead file alone; then what is not durable goes to its segment."""
_TAIL = Retention(max_bytes=1 << 20, max_events=1 << 30)


def _nobody(_records: Sequence[Record], _events: Sequence[Event]) -> None:
    """Nobody looks at what becomes visible."""


class LogFacts(NamedTuple):
    """What is known of a complete log without opening it."""

    head: Seq
    oldest: Seq
    trimmed_through: Seq
    offsets: StreamOffsets


class _Pending(NamedTuple):
    records: Sequence[Record]
    offsets: StreamOffsets | None
    size_bytes: int


@dataclass(slots=True)
class Ground:
    """What the logs of a store share."""

    files: Files
    numbering: Numbering
    retention: Retention
    salvage: Salvage
    workers: str
    """The directory of the workers' folders."""
    wal: WriteAhead | None = None
    """None: a durable append is an append, and nothing is synced."""
    remembered: Remembered = field(default_factory=Remembered)
    dirty: dict[FileLog, None] = field(default_factory=dict)
    """Logs that wrote since the last sync, or have something pending."""
    leftover: list[str] = field(default_factory=list)
    """Files of dropped segments that could not be removed yet."""
    onlooker: Onlooker | None = None
    look_at_s: float = 0.0
    """When it is time to `look` again, by `perf_counter`."""
    seen: tuple[int, int] = (0, 0)
    """The workers' directory when it was looked at; another value when a folder came or went."""

    def look(self, now_s: float) -> None:
        """See whether somebody removed a worker's folder; one look serves all logs, for it is dear."""
        self.look_at_s = now_s + SEEN_S
        try:
            found = self.files.stat(self.workers)
        except OSError:
            self.seen = (0, 0)
        else:
            self.seen = (found.st_mtime_ns, found.st_nlink)


class FileLog:
    """See `Log`."""

    def __init__(
        self,
        ground: Ground,
        worker_id: WorkerId | None,
        directory: str,
        known: LogState | LogFacts | None,
        on_visible: OnVisible = _nobody,
    ) -> None:
        """A log whose segments stand in a directory; `worker_id` None is the runtime's own.

        `known` is what its files say, or what spares asking them. None: they could not
        be read; everybody who needs them is told why, or gets them when that is over.
        """
        self._is_known = known is not None
        known = known or LogFacts(BEGINNING, BEGINNING, BEGINNING, NO_OFFSETS)
        self._ground = ground
        self._files = ground.files
        self._numbering = ground.numbering
        self._bounds = ground.retention
        self._age_us = None if self._bounds.max_age_s is None else self._bounds.max_age_s * 1_000_000
        self._segment_bytes = max(1, min(SEGMENT_BYTES_MAX, self._bounds.max_bytes // SEGMENTS_KEPT))
        self._segment_events = max(1, self._bounds.max_events // SEGMENTS_KEPT)
        self.worker_id = worker_id
        self._name = "runtime" if worker_id is None else worker_id
        self.mark = b"%b" % orjson.dumps({"log": worker_id})  # A copy, for orjson's bytes keep 4 KiB each.
        """The line that names this log in the write-ahead file."""
        self.directory = directory
        self.on_visible = on_visible
        self._tail = Tail(_TAIL, self._numbering.clock_us, known.head)
        self.trimmed_through = known.trimmed_through
        self.offsets = known.offsets
        self._seen = (-1, -1)
        self._seen_until_s = 0.0
        self._refusal: tuple[type[StoreFault], str] | None = None
        self.gathered = 0
        """Appends that wait for the next round of the write-ahead file."""
        self._pending: list[_Pending] = []
        self._pending_bytes = 0
        self._pending_events = 0
        self._state: LogState | None = None
        self._kept_bytes = 0
        self.rolled: list[SegmentWriter] = []
        """Full segments that are not yet synced."""
        self.loose = False
        """Whether segments hold what is synced nowhere: neither in them nor in the write-ahead file."""
        self.unsynced_directories: set[str] = set()
        if isinstance(known, LogFacts):
            self.oldest = known.oldest
        else:
            self._take(known)

    def _take(self, state: LogState) -> LogState:
        """Begin with what loading found."""
        self._state = state
        if state.writer is not None:  # Another process wrote it: who knows how much is on the disk.
            self.loose = True
            self._ground.dirty[self] = None
        self._kept_bytes = sum(segment.size_bytes for segment in state.segments)
        self.oldest = state.segments[0].first if state.segments else BEGINNING
        self.trimmed_through = state.trimmed_through
        return state

    def _loaded(self) -> LogState:
        """What the files say. Raises StoreMissing, StoreIo."""
        if self._state is not None:
            return self._state
        state = load_log(self._files, self.directory, self.worker_id, self._ground.salvage)
        self._is_known = True
        if state.head != self._tail.head:
            self._tail.begin_at(state.head)
        self.offsets = state.offsets
        return self._take(state)

    @property
    def head(self) -> Seq:
        """Sequence of the newest event; 0 before the first."""
        return self._tail.head

    # Append.

    async def append(
        self, events: Sequence[Event], *, durable: bool = False, offsets: StreamOffsets | None = None
    ) -> Sequence[Record]:
        """See `Log.append`."""
        if self._refusal is not None:
            raise self._refused()
        state = self._state or self._loaded()
        wal = self._ground.wal
        now_s = perf_counter()
        if now_s > self._ground.look_at_s:
            self._ground.look(now_s)
        if now_s > self._seen_until_s or self._seen != self._ground.seen:
            self._require_files(state)
        if durable and wal is not None:
            records = self._numbering.encode(self._name, events)
            await wal.gather(self, records, events, offsets)
            return records
        if wal is not None and self._is_young(state):
            records = self._numbering.encode(self._name, events)
            wal.put(self, records, events, offsets)
            return records
        if self.gathered:
            assert wal is not None
            wal.write_round()
        records = self._numbering.encode(self._name, events)
        self._write(state, records, offsets)
        self._show(state, records, events, offsets)
        return records

    def _is_young(self, state: LogState) -> bool:
        """Whether all of it stands in the write-ahead file, and a little more may.

        In its segment that would have to be synced, with the new names on the way
        there, by the next durable append: much, for a log that may have no more of them.
        """
        if state.head != BEGINNING or not (self._pending or self.gathered):
            return False
        return self._pending_events < YOUNG_EVENTS_MAX and self._pending_bytes < YOUNG_BYTES_MAX

    def restore(self, records: Sequence[Record], offsets: StreamOffsets | None) -> None:
        """Append what another process appended, unless it is there. Raises StoreIo, StoreMissing."""
        state = self._loaded()
        if records[0].seq > state.head:
            self._write(state, records, offsets)
            self._show(state, records, (), offsets)

    def paths_from(self, seq: Seq) -> Sequence[str]:
        """The files that hold what a log has from a sequence on, and their directory."""
        segments = self._loaded().segments
        first = max(0, bisect_right(segments, seq, key=lambda segment: segment.first) - 1)
        return [*(segment.path for segment in segments[first:]), self.directory]

    def accept(
        self, records: Sequence[Record], events: Sequence[Event], offsets: StreamOffsets | None
    ) -> None:
        """Show an append that stands in the write-ahead file; its segment gets it later."""
        state = self._state
        assert state is not None
        size_bytes = _size_bytes(records)
        if not self._can_be_pending(state, size_bytes, len(records)):
            with suppress(StoreFault):  # It is safe where it is; whoever needs it in its segment is told.
                self.flush()
                if not self._takes(state, size_bytes, len(records)):
                    self._roll(state, records[0].seq)
        self._pending.append(_Pending(records, offsets, size_bytes))
        self._pending_bytes += size_bytes
        self._pending_events += len(records)
        self._ground.dirty[self] = None
        self._show(state, records, events, offsets)

    def _can_be_pending(self, state: LogState, size_bytes: int, count: int) -> bool:
        """Whether the segment takes an append when its time comes; the first one is not made before that."""
        if self._pending_bytes > PENDING_BYTES_MAX:
            return False
        if state.writer is not None or self._age_us is not None:
            return self._takes(state, size_bytes, count)
        if not self._pending:
            return True
        return (
            self._pending_bytes + size_bytes <= self._segment_bytes
            and self._pending_events + count <= self._segment_events
        )

    def _show(
        self,
        state: LogState,
        records: Sequence[Record],
        events: Sequence[Event],
        offsets: StreamOffsets | None,
    ) -> None:
        """It is written: let everybody see it."""
        if offsets is not None:
            self.offsets = offsets
        if not self.oldest:
            self.oldest = records[0].seq
        if (
            self._kept_bytes + self._pending_bytes > self._bounds.max_bytes
            or state.events + self._pending_events - state.events_dropped > self._bounds.max_events
            or self._age_us is not None
        ):
            self._trim(state)
        self._tail.extend(records)
        onlooker = self._ground.onlooker
        if onlooker is not None:
            onlooker(self.worker_id, records)
        self.on_visible(records, events)

    def _write(self, state: LogState, records: Sequence[Record], offsets: StreamOffsets | None) -> None:
        """Write one append behind everything that is pending. Raises StoreIo, StoreMissing."""
        if self._pending:
            self.flush()
        if not self._takes(state, _size_bytes(records), len(records)):
            self._roll(state, records[0][0])
        try:
            self._write_to_segment(state, records, offsets)
        except StoreFault:
            self._give_up_empty(state)
            raise
        if not self.loose:
            self.loose = True
            self._ground.dirty[self] = None

    def flush(self) -> None:
        """Write what is pending to the segments. Raises StoreIo, StoreMissing; the rest stays pending."""
        state, pending = self._state, self._pending
        while pending:
            assert state is not None
            self._pending_bytes = self._pending_events = 0
            count = 0
            for each in pending:
                if not self._takes(state, each.size_bytes, len(each.records)):
                    break
                self._pending_bytes += each.size_bytes
                self._pending_events += len(each.records)
                count += 1
            try:
                if count:
                    self._flush_some(state, pending[:count])
                    del pending[:count]
                else:
                    self._roll(state, pending[0].records[0].seq)
            finally:
                self._pending_bytes = sum([each.size_bytes for each in pending])
                self._pending_events = sum([len(each.records) for each in pending])

    def _flush_some(self, state: LogState, taken: Sequence[_Pending]) -> None:
        """Write several appends as one: the write-ahead file has each of them whole."""
        records = [record for each in taken for record in each.records]
        offsets = [each.offsets for each in taken if each.offsets is not None]
        self._write_to_segment(state, records, offsets[-1] if offsets else None)

    def _write_to_segment(
        self, state: LogState, records: Sequence[Record], offsets: StreamOffsets | None
    ) -> None:
        writer = state.writer
        assert writer is not None
        segment = writer.segment
        before = segment.size_bytes
        try:
            writer.write(records, offsets)
        except OSError as fault:
            writer.take_back()
            raise self._fault("write", segment.path, fault) from fault
        self._kept_bytes += segment.size_bytes - before
        state.events += len(records)
        state.head = records[-1].seq
        if offsets is not None:
            state.offsets = offsets

    # Segments.

    def _takes(self, state: LogState, size_bytes: int, count: int) -> bool:
        """Whether the present segment takes an append behind what is in it and what is pending."""
        writer = state.writer
        if writer is None:
            return False
        ahead = writer.events + self._pending_events
        if ahead == 0:
            return True
        if writer.segment.size_bytes + self._pending_bytes + size_bytes > self._segment_bytes:
            return False
        if ahead + count > self._segment_events:
            return False
        if self._age_us is None:
            return True
        return self._numbering.clock_us() - writer.segment.first <= self._age_us // SEGMENTS_KEPT

    def _roll(self, state: LogState, first: Seq) -> None:
        """Go on in a new segment. Nothing may be pending. Raises StoreIo, StoreMissing."""
        opening = Opening(state.head, state.events, state.offsets)
        writer = SegmentWriter(self._files, Segment(self.directory, first, opening=opening))
        try:
            writer.prepare()
        except OSError as fault:
            self._drop_file(writer)
            raise self._fault("create", writer.segment.path, fault) from fault
        full, state.writer = state.writer, writer
        state.segments.append(writer.segment)
        self._kept_bytes += writer.segment.size_bytes
        self.unsynced_directories.add(self.directory)
        if full is None:
            return
        if self._ground.wal is not None and full.synced_bytes < full.segment.size_bytes:
            self.rolled.append(full)
        else:
            full.rest()

    def _give_up_empty(self, state: LogState) -> None:
        """After a failed append: a segment that was made for it goes."""
        writer = state.writer
        assert writer is not None
        if writer.events == 0:
            state.segments.pop()
            state.writer = None
            self._kept_bytes -= writer.segment.size_bytes
            self._drop_file(writer)

    def _drop_file(self, writer: SegmentWriter) -> None:
        """A segment was made for nothing; if its file stays, the next start removes it."""
        writer.rest()
        with suppress(OSError):
            self._files.unlink(writer.segment.path)

    def _is_over(self, state: LogState) -> bool:
        bounds = self._bounds
        if self._kept_bytes + self._pending_bytes > bounds.max_bytes:
            return True
        if state.events + self._pending_events - state.events_dropped > bounds.max_events:
            return True
        if self._age_us is None:
            return False
        return state.segments[0].first < self._numbering.clock_us() - self._age_us

    def _trim(self, state: LogState) -> None:
        """Drop oldest segments while the log is over its bounds; never the newest."""
        while len(state.segments) > 1 and self._is_over(state):
            dropped, follower = state.segments[:2]
            opening = self._opening_of(follower)
            del state.segments[0]
            self._kept_bytes -= dropped.size_bytes
            self.oldest = follower.first
            if opening is None:  # Corrupt: readers who come to it are told so.
                self.trimmed_through = Seq(follower.first - 1)
            else:
                self.trimmed_through = opening.after
                state.events_dropped = opening.events
            self._remove(dropped)

    def _opening_of(self, segment: Segment) -> Opening | None:
        try:
            return self._stated_opening(segment)
        except StoreFault:
            return None

    def _remove(self, segment: Segment) -> None:
        for writer in [writer for writer in self.rolled if writer.segment is segment]:
            self.rolled.remove(writer)
            writer.rest()
        try:
            self._files.unlink(segment.path)
        except FileNotFoundError:
            pass
        except OSError:
            self._ground.leftover.append(segment.path)

    # Read.

    async def read(
        self, *, after: Seq, max_records: int = READ_RECORDS_MAX, max_bytes: int = READ_BYTES_MAX
    ) -> Run:
        """See `Log.read`."""
        if not self._is_known:
            self._loaded()
        if after < self.trimmed_through:
            raise CursorExpired(encode_cursor(after), encode_cursor(self.oldest), encode_cursor(self.head))
        if after >= self._tail.trimmed_through:
            return self._tail.read(after=after, max_records=max_records, max_bytes=max_bytes)
        return Run(self._read_files(after, Bounds(max_records, max_bytes)))

    def _read_files(self, after: Seq, bounds: Bounds) -> Sequence[bytes]:
        """What the segments have behind a position, and what is pending behind them."""
        taken = self._read_segments(after, bounds)
        while taken and (left := bounds.left_after(taken)) is not None:
            try:
                further = self._read_segments(envelope_seq(taken[-1]), left)
            except StoreFault:
                return taken  # The next read comes to it.
            if not further:
                break
            taken = [*taken, *further]
        left = bounds.left_after(taken)
        if left is None or not self._pending:
            return taken
        position = envelope_seq(taken[-1]) if taken else after
        pending = [line for each in self._pending for seq, line in each.records if seq > position]
        return [*taken, *pending[: left.end(pending, 0, sum(map(len, pending)))]]

    def _read_segments(self, after: Seq, bounds: Bounds) -> Sequence[bytes]:
        segments = self._loaded().segments
        if not segments:
            return []
        remembered = self._ground.remembered
        reached = remembered.take(self, after)
        lines, reached = read_segments(self._files, segments, after, reached, bounds)
        if reached is not None:
            remembered.put(self, envelope_seq(lines[-1]) if lines else after, reached)
        return lines

    async def holds(self, seq: Seq) -> bool:
        """See `Log.holds`."""
        if seq <= self.trimmed_through or seq > self.head:
            return False
        if seq > self._tail.trimmed_through:
            return self._tail.holds(seq)
        return [record.seq for record in await self.read(after=Seq(seq - 1), max_records=1)] == [seq]

    async def count(self, *, after: Seq, through: Seq) -> int:
        """See `Log.count`."""
        if after < self.trimmed_through:
            raise CursorExpired(encode_cursor(after), encode_cursor(self.oldest), encode_cursor(self.head))
        if after >= self._tail.trimmed_through:
            return self._tail.count(after=after, through=through)
        return await self._events_through(through) - await self._events_through(after)

    async def before_newest(self, count: int) -> Seq:
        """See `Log.before_newest`."""
        state = self._loaded()
        behind = state.events + self._pending_events - count
        if behind <= state.events_dropped:
            return self.trimmed_through
        if count <= len(self._tail):
            return self._tail.before_newest(count)
        return await position_behind(self, state.segments, self._stated_opening, behind)

    async def _events_through(self, seq: Seq) -> int:
        """How many events there ever were up to this one; it never changes."""
        state = self._loaded()
        if seq >= self._tail.trimmed_through:
            ever = state.events + self._pending_events
            return ever - self._tail.count(after=seq, through=self.head)
        return await events_through(self, state.segments, self._stated_opening, seq)

    def _stated_opening(self, segment: Segment) -> Opening:
        """What a segment opens with. Raises StoreCorrupt, StoreMissing, StoreIo."""
        if segment.opening is None:
            with SegmentReader(self._files, segment) as reader:
                segment.opening = reader.opening()
        return segment.opening

    async def wait(self, *, after: Seq) -> None:
        """See `Log.wait`."""
        await self._tail.wait(after=after)

    # The end.

    def facts(self) -> LogFacts:
        """What spares the next start to open this log. Nothing may be pending."""
        return LogFacts(self.head, self.oldest, self.trimmed_through, self.offsets)

    def forget_tail(self) -> None:
        """Keep no events in memory: they are all in the segments, and few will ask for them."""
        if not self._pending and not self.gathered:
            self._tail.forget()

    def newest_segment(self) -> Segment | None:
        """The segment that has the newest event. Raises StoreMissing, StoreIo."""
        segments = self._loaded().segments
        return segments[-1] if segments else None

    def close(self, *, removed: bool) -> None:
        """End the log for its readers, and take no more appends."""
        if removed:
            self._refuse(StoreMissing, "the worker was deleted")
            self.on_visible = _nobody  # Whoever looked refers to this log too: both go without a search.
        else:
            self._refuse(StoreIo, "the store was closed")
            self._tail.close(removed=False)

    def rest(self, *, finally_: bool = False) -> None:
        """Close files that are not needed now."""
        state = self._state
        if state is None or state.writer is None:
            return
        writer = state.writer
        if finally_ or writer.synced_bytes == writer.segment.size_bytes or self._ground.wal is None:
            writer.rest()
        if finally_:
            for full in self.rolled:
                full.rest()
            self.rolled = []

    def _require_files(self, state: LogState) -> None:
        """See that nobody removed them. Raises StoreMissing."""
        self._seen = self._ground.seen
        self._seen_until_s = perf_counter() + FILE_SEEN_S
        writer = state.writer
        if writer is None or writer.fd < 0:
            try:
                self._files.stat(self.directory)
            except OSError as fault:
                raise self._fault("append", self.directory, fault) from fault
        elif not writer.is_there():
            self._refuse(StoreMissing, "its files were removed")
            raise self._refused()

    def _fault(self, operation: str, path: str, fault: OSError) -> StoreFault:
        """What to raise; a log whose files are gone stays gone."""
        told = fault_of(operation, path, fault)
        if isinstance(told, StoreMissing):
            self._refuse(StoreMissing, "its files were removed")
        return told

    def _refuse(self, fault: type[StoreFault], reason: str) -> None:
        self._refusal = fault, reason
        if fault is StoreMissing:
            self._pending.clear()
            self._pending_bytes = self._pending_events = 0
            self._tail.close(removed=True)  # Nothing will follow, so nobody may wait for it.

    def _refused(self) -> StoreFault:
        assert self._refusal is not None
        fault, reason = self._refusal
        return fault("append", self.directory, reason)

    # Syncing.

    def begin_sync(self) -> LogSync:
        """What a thread must bring to the disk now; `end_sync` takes it back."""
        if self._ground.wal is None:
            self.loose = False
            return LogSync(self, (), ())
        state = self._state
        present = [state.writer] if state is not None and state.writer is not None else []
        writers: list[tuple[SegmentWriter, int, int]] = []
        fault: OSError | None = None
        for writer in (*self.rolled, *present):
            if writer.synced_bytes < writer.segment.size_bytes:
                try:
                    writer.prepare()
                    if writer.suspect:
                        writer.repeat_unsynced()
                except FileNotFoundError as gone:
                    self._fault("sync", writer.segment.path, gone)
                    continue
                except OSError as refused:
                    fault = refused
                writer.syncs += 1
                writers.append((writer, writer.fd, writer.segment.size_bytes))
        directories = sorted(self.unsynced_directories)
        self.unsynced_directories.clear()
        self.loose = False
        return LogSync(self, writers, directories, fault)

    def end_sync(self, sync: LogSync, fault: OSError | None) -> OSError | None:
        """Take what came of it; what is left to be tried again.

        Of a directory that is gone nothing is.
        """
        if isinstance(fault, FileNotFoundError):
            self._fault("sync", self.directory, fault)
            fault = None
        for writer, _fd, size_bytes in sync.writers:
            writer.syncs -= 1
            if fault is not None:
                writer.suspect = True
            else:
                writer.synced_bytes = max(writer.synced_bytes, size_bytes)
                if writer in self.rolled and writer.synced_bytes == writer.segment.size_bytes:
                    self.rolled.remove(writer)
            if writer not in self.rolled and (self._state is None or self._state.writer is not writer):
                writer.rest()
        if fault is not None:
            self.unsynced_directories.update(sync.directories)
            self.loose = True
            self._ground.dirty[self] = None
        return fault


def _size_bytes(records: Sequence[Record]) -> int:
    """What an append adds to a segment, at most."""
    if len(records) == 1:
        return len(records[0].line) + 1 + COMMIT_BYTES_MAX
    return sum([len(line) for _, line in records]) + len(records) + COMMIT_BYTES_MAX
