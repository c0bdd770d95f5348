"""One log on the disk: what of it is visible, and who is told.

    segments  [ … ][ … ][ … │ pending ]      tail (in memory)  [ … newest ]
                            ^ written                                    ^ head

*Pending* are durable appends that stand in the write-ahead file and are
visible, but not yet in their segment. They go there before anything else of
this log does, so the order of a segment is the order of the log.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

import orjson

from watchglass.protocol.cursor import BEGINNING, Seq, encode_cursor
from watchglass.protocol.errors import CursorExpired, StoreFault, StoreIo, StoreMissing
from watchglass.protocol.events import Event
from watchglass.protocol.identity import WorkerId
from watchglass.store.base import (
    READ_BYTES_MAX,
    READ_RECORDS_MAX,
    OnVisible,
    Record,
    Retention,
    Run,
    StreamOffsets,
)
from watchglass.store.tail import Tail

from .counting import events_through, position_behind
from .ground import Ground
from .loading import NO_OFFSETS, LogFacts, LogState, load_log
from .replay import Bounds
from .segment import Segment
from .segments import Segments, bytes_of
from .unsynced import LogSync

FILE_SEEN_S = 50e-3
"""For how long the files of a log that were there are taken to be there, while no folder comes or goes."""
YOUNG_EVENTS_MAX = 16
YOUNG_BYTES_MAX = 16 << 10
"""So much of a new log stands in the write-ahead file alone; then what is not durable goes to its segment."""
_TAIL = Retention(max_bytes=1 << 20, max_events=1 << 30)
_REMOVED = "its files were removed"


def _nobody(_records: Sequence[Record], _events: Sequence[Event]) -> None:
    """Nobody looks at what becomes visible."""


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
        self._numbering = ground.numbering
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
        self._segments: Segments | None = None
        if isinstance(known, LogFacts):
            self.oldest = known.oldest
        else:
            self._take(known)

    def _take(self, found: LogState) -> Segments:
        """Begin with what loading found."""
        segments = self._segments = Segments(self._ground, self.directory, found)
        if segments.unsynced.loose:
            self._ground.dirty[self] = None
        self.oldest = segments.oldest
        self.trimmed_through = segments.trimmed_through
        return segments

    def _loaded(self) -> Segments:
        """What the files say. Raises StoreMissing, StoreIo."""
        if self._segments is not None:
            return self._segments
        ground = self._ground
        found = load_log(ground.files, self.directory, self.worker_id, ground.salvage)
        self._is_known = True
        if found.head != self._tail.head:
            self._tail.begin_at(found.head)
        self.offsets = found.offsets
        return self._take(found)

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
        segments = self._segments or self._loaded()
        ground = self._ground
        wal = ground.wal
        now_s = perf_counter()
        if now_s > ground.look_at_s:
            ground.look(now_s)
        if now_s > self._seen_until_s or self._seen != ground.seen:
            self._require_files(segments)
        if durable and wal is not None:
            records = self._numbering.encode(self._name, events)
            await wal.gather(self, records, events, offsets)
            return records
        if wal is not None and self._is_young(segments):
            records = self._numbering.encode(self._name, events)
            wal.put(self, records, events, offsets)
            return records
        if self.gathered:
            assert wal is not None
            wal.write_round()
        records = self._numbering.encode(self._name, events)
        self._write(segments, records, offsets)
        self._show(segments, records, events, offsets)
        return records

    def _is_young(self, segments: Segments) -> bool:
        """Whether all of it stands in the write-ahead file, and a little more may.

        In its segment that would have to be synced, with the new names on the way
        there, by the next durable append: much, for a log that may have no more of them.
        """
        pending = segments.pending
        if segments.head != BEGINNING or not (pending.appends or self.gathered):
            return False
        return pending.events < YOUNG_EVENTS_MAX and pending.size_bytes < YOUNG_BYTES_MAX

    def restore(self, records: Sequence[Record], offsets: StreamOffsets | None) -> None:
        """Append what another process appended, unless it is there. Raises StoreIo, StoreMissing."""
        segments = self._loaded()
        if records[0].seq > segments.head:
            self._write(segments, records, offsets)
            self._show(segments, records, (), offsets)

    def accept(
        self, records: Sequence[Record], events: Sequence[Event], offsets: StreamOffsets | None
    ) -> None:
        """Show an append that stands in the write-ahead file; its segment gets it later."""
        segments = self._segments
        assert segments is not None
        size_bytes = bytes_of(records)
        if not segments.can_hold(size_bytes, len(records)):
            try:
                segments.make_room(size_bytes, len(records), records[0].seq)
            except StoreMissing:
                self._refuse(StoreMissing, _REMOVED)
            except StoreFault:
                pass  # It is safe where it is; whoever needs it in its segment is told.
        segments.pending.add(records, offsets, size_bytes)
        self._ground.dirty[self] = None
        self._show(segments, records, events, offsets)

    def _write(self, segments: Segments, records: Sequence[Record], offsets: StreamOffsets | None) -> None:
        """Write one append behind everything that is pending. Raises StoreIo, StoreMissing."""
        try:
            segments.write(records, offsets)
        except StoreMissing:
            self._refuse(StoreMissing, _REMOVED)
            raise
        unsynced = segments.unsynced
        if not unsynced.loose:
            unsynced.loose = True
            self._ground.dirty[self] = None

    def _show(
        self,
        segments: Segments,
        records: Sequence[Record],
        events: Sequence[Event],
        offsets: StreamOffsets | None,
    ) -> None:
        """It is written: let everybody see it."""
        if offsets is not None:
            self.offsets = offsets
        if not self.oldest:
            self.oldest = records[0].seq
        if len(segments.kept) > 1 and segments.trim():
            self.oldest = segments.oldest
            self.trimmed_through = segments.trimmed_through
        self._tail.extend(records)
        onlooker = self._ground.onlooker
        if onlooker is not None:
            onlooker(self.worker_id, records)
        self.on_visible(records, events)

    def flush(self) -> None:
        """Write what is pending to the segments. Raises StoreIo, StoreMissing; the rest stays pending."""
        if self._segments is None:
            return
        try:
            self._segments.flush()
        except StoreMissing:
            self._refuse(StoreMissing, _REMOVED)
            raise

    # Read.

    async def read(
        self, *, after: Seq, max_records: int = READ_RECORDS_MAX, max_bytes: int = READ_BYTES_MAX
    ) -> Run:
        """See `Log.read`."""
        if not self._is_known:
            self._loaded()
        self._require_kept(after)
        if after >= self._tail.trimmed_through:
            return self._tail.read(after=after, max_records=max_records, max_bytes=max_bytes)
        return Run(self._loaded().read(after, Bounds(max_records, max_bytes)))

    def _require_kept(self, after: Seq) -> None:
        """Raises CursorExpired."""
        if after < self.trimmed_through:
            raise CursorExpired(encode_cursor(after), encode_cursor(self.oldest), encode_cursor(self.head))

    async def holds(self, seq: Seq) -> bool:
        """See `Log.holds`."""
        if seq <= self.trimmed_through or seq > self.head:
            return False
        if seq > self._tail.trimmed_through:
            return self._tail.holds(seq)
        return [record.seq for record in await self.read(after=Seq(seq - 1), max_records=1)] == [seq]

    async def count(self, *, after: Seq, through: Seq) -> int:
        """See `Log.count`."""
        self._require_kept(after)
        if after >= self._tail.trimmed_through:
            return self._tail.count(after=after, through=through)
        return await self._events_through(through) - await self._events_through(after)

    async def before_newest(self, count: int) -> Seq:
        """See `Log.before_newest`."""
        segments = self._loaded()
        behind = segments.events_ever - count
        if behind <= segments.dropped:
            return self.trimmed_through
        if count <= len(self._tail):
            return self._tail.before_newest(count)
        return await position_behind(self, segments.kept, segments.opening_of, behind)

    async def _events_through(self, seq: Seq) -> int:
        """How many events there ever were up to this one; it never changes."""
        segments = self._loaded()
        if seq >= self._tail.trimmed_through:
            return segments.events_ever - self._tail.count(after=seq, through=self.head)
        return await events_through(self, segments.kept, segments.opening_of, seq)

    async def wait(self, *, after: Seq) -> None:
        """See `Log.wait`."""
        await self._tail.wait(after=after)

    # What others keep of it.

    def facts(self) -> LogFacts:
        """What spares the next start to open this log. Nothing may be pending."""
        return LogFacts(self.head, self.oldest, self.trimmed_through, self.offsets)

    def newest_segment(self) -> Segment | None:
        """The segment that has the newest event. Raises StoreMissing, StoreIo."""
        kept = self._loaded().kept
        return kept[-1] if kept else None

    def paths_from(self, seq: Seq) -> Sequence[str]:
        """The files that hold what a log has from a sequence on, and their directory."""
        return self._loaded().paths_from(seq)

    # The end.

    def forget_tail(self) -> None:
        """Keep no events in memory: they are all in the segments, and few will ask for them."""
        has_pending = self._segments is not None and self._segments.pending.appends
        if not has_pending and not self.gathered:
            self._tail.forget()

    def close(self, *, removed: bool) -> None:
        """End the log for its readers, and take no more appends."""
        if removed:
            self._refuse(StoreMissing, "the worker was deleted")
            self.on_visible = _nobody  # Whoever looked refers to this log too: both go without a search.
        else:
            self._refuse(StoreIo, "the store was closed")
            self._tail.close(removed=False)

    def rest(self, *, finally_: bool = False) -> None:
        """Close files that are not needed now; `finally_`: all of them."""
        if self._segments is not None:
            self._segments.rest(finally_=finally_)

    def _require_files(self, segments: Segments) -> None:
        """See that nobody removed them. Raises StoreMissing, StoreIo."""
        self._seen = self._ground.seen
        self._seen_until_s = perf_counter() + FILE_SEEN_S
        try:
            segments.require_files()
        except StoreMissing:
            self._refuse(StoreMissing, _REMOVED)
            raise

    def _refuse(self, fault: type[StoreFault], reason: str) -> None:
        """Take no more appends; a log whose files are gone stays gone."""
        self._refusal = fault, reason
        if fault is StoreMissing:
            if self._segments is not None:
                self._segments.pending.drop(len(self._segments.pending.appends))
            self._tail.close(removed=True)  # Nothing will follow, so nobody may wait for it.

    def _refused(self) -> StoreFault:
        assert self._refusal is not None
        fault, reason = self._refusal
        return fault("append", self.directory, reason)

    # Syncing.

    @property
    def loose(self) -> bool:
        """See `Unsynced`."""
        return self._segments is not None and self._segments.unsynced.loose

    def owe_names_in(self, *directories: str) -> None:
        """The next sync brings the names in these directories to the disk, too."""
        self._loaded().unsynced.directories.update(directories)

    def begin_sync(self) -> LogSync:
        """What a thread must bring to the disk now; `end_sync` takes it back."""
        segments = self._segments
        assert segments is not None, "who wrote nothing has nothing to sync"
        if self._ground.wal is None:
            segments.unsynced.loose = False
            return LogSync(self, (), ())
        sync = segments.unsynced.begin(self, segments.writer)
        if sync.is_gone:
            self._refuse(StoreMissing, _REMOVED)
        return sync

    def end_sync(self, sync: LogSync, fault: OSError | None) -> OSError | None:
        """Take what came of it; what is left to be tried again.

        Of a directory that is gone nothing is.
        """
        segments = self._segments
        assert segments is not None
        if isinstance(fault, FileNotFoundError):
            self._refuse(StoreMissing, _REMOVED)
            fault = None
        segments.unsynced.end(sync, fault, segments.writer)
        if fault is not None:
            self._ground.dirty[self] = None
        return fault
