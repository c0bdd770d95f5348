"""One log on the disk: what is appended to it, when it becomes visible, and who is told.

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

from watchglass.protocol.cursor import BEGINNING
from watchglass.protocol.errors import StoreFault, StoreIo, StoreMissing
from watchglass.protocol.events import Event
from watchglass.protocol.identity import WorkerId
from watchglass.store.base import OnVisible, Record, StreamOffsets

from .ground import Ground
from .loading import LogFacts, LogState
from .log_reading import ReadableFileLog
from .segments import Segments, bytes_of
from .unsynced import LogSync

FILE_SEEN_S = 50e-3
"""For how long the files of a log that were there are taken to be there, while no folder comes or goes."""
YOUNG_EVENTS_MAX = 16
YOUNG_BYTES_MAX = 16 << 10
"""So much of a new log stands in the write-ahead file alone; then what is not durable goes to its segment."""
_REMOVED = "its files were removed"


def _nobody(_records: Sequence[Record], _events: Sequence[Event]) -> None:
    """Nobody looks at what becomes visible."""


class FileLog(ReadableFileLog):
    """See `Log`."""

    def __init__(
        self,
        ground: Ground,
        worker_id: WorkerId | None,
        directory: str,
        known: LogState | LogFacts | None,
        on_visible: OnVisible = _nobody,
    ) -> None:
        """See `ReadableFileLog`."""
        super().__init__(ground, worker_id, directory, known)
        self._numbering = ground.numbering
        self._name = "runtime" if worker_id is None else worker_id
        self.mark = b"%b" % orjson.dumps({"log": worker_id})  # A copy, for orjson's bytes keep 4 KiB each.
        """The line that names this log in the write-ahead file."""
        self.on_visible = on_visible
        self._seen = (-1, -1)
        self._seen_until_s = 0.0
        self._refusal: tuple[type[StoreFault], str] | None = None
        self.gathered = 0
        """Appends that wait for the next round of the write-ahead file."""

    def _take(self, found: LogState) -> Segments:
        segments = super()._take(found)
        if segments.unsynced.loose:
            self._ground.dirty[self] = None
        return segments

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

    def check(self) -> None:
        """See that it still takes appends. Raises StoreMissing, StoreIo: it will not any more."""
        if self._refusal is not None:
            raise self._refused()

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
                self._segments.pending.clear()
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
