"""The segments of one log: appends go to the newest, readers go through all, retention drops the oldest.

    [ … ][ … ][ … │ pending ]
    ^ oldest      ^ written

A segment is made with the first append that it takes, and takes no part of one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from contextlib import suppress

from watchglass.protocol.cursor import BEGINNING, Seq
from watchglass.protocol.errors import StoreFault, StoreMissing
from watchglass.protocol.frames import envelope_seq
from watchglass.store.base import Record, StreamOffsets

from .files import fault_of
from .ground import SEGMENTS_KEPT, Ground
from .loading import LogState
from .pending import Pending, PendingAppend
from .reading import opening_of
from .replay import Bounds, read_segments
from .segment import COMMIT_BYTES_MAX, Opening, Segment, SegmentWriter
from .unsynced import Unsynced

PENDING_BYTES_MAX = 64 << 10


class Segments:
    """What `loading` found of them, and what has come since.

    Nothing here is undone but what failed: a fault leaves the log as it was before
    the append. `StoreMissing` says that somebody removed the files.
    """

    __slots__ = (
        "_directory",
        "_files",
        "_ground",
        "dropped",
        "events",
        "head",
        "kept",
        "kept_bytes",
        "offsets",
        "pending",
        "trimmed_through",
        "unsynced",
        "writer",
    )

    def __init__(self, ground: Ground, directory: str, found: LogState) -> None:
        self._ground = ground
        self._files = ground.files
        self._directory = directory
        self.kept = found.segments
        """Those that are there, in their order."""
        self.kept_bytes = sum([segment.size_bytes for segment in found.segments])
        self.writer = found.writer
        """Of the newest; None: the next append makes one."""
        self.head = found.head
        """The newest event that is not pending."""
        self.trimmed_through = found.trimmed_through
        self.offsets = found.offsets
        self.events = found.events
        """How many there ever were that are not pending …"""
        self.dropped = found.events_dropped
        """… and how many of them retention dropped."""
        self.pending = Pending()
        self.unsynced = Unsynced()
        self.unsynced.loose = found.writer is not None  # Who knows how much of it is on the disk.

    @property
    def oldest(self) -> Seq:
        """The oldest event that is not pending; 0: there is none."""
        return self.kept[0].first if self.kept else BEGINNING

    @property
    def events_ever(self) -> int:
        """How many events the log ever had, with the pending ones."""
        return self.events + self.pending.events

    # Write.

    def write(self, records: Sequence[Record], offsets: StreamOffsets | None) -> None:
        """Write one append behind everything that is pending. Raises StoreIo, StoreMissing."""
        if self.pending.appends:
            self.flush()
        if not self._takes(bytes_of(records), len(records)):
            self._roll(records[0][0])
        try:
            self._write(records, offsets)
        except StoreFault:
            self._give_up_empty()
            raise

    def flush(self) -> None:
        """Write what is pending to the segments. Raises StoreIo, StoreMissing; the rest stays pending."""
        pending = self.pending
        while pending.appends:
            fitting = self._fitting(pending.appends)
            if fitting:
                self._write_as_one(pending.appends[:fitting])
                pending.drop(fitting)
            else:
                self._roll(pending.appends[0].records[0].seq)

    def can_hold(self, size_bytes: int, count: int) -> bool:
        """Whether one more may be pending: a segment takes it when its time comes, and is not made before."""
        ground, pending = self._ground, self.pending
        if pending.size_bytes > PENDING_BYTES_MAX:
            return False
        if self.writer is not None or ground.age_us is not None:
            return self._takes(size_bytes, count, pending.size_bytes, pending.events)
        if not pending.appends:
            return True
        return (
            pending.size_bytes + size_bytes <= ground.segment_bytes
            and pending.events + count <= ground.segment_events
        )

    def make_room(self, size_bytes: int, count: int, first: Seq) -> None:
        """See that an append which begins with `first` can be pending. Raises StoreIo, StoreMissing."""
        self.flush()
        if not self._takes(size_bytes, count):
            self._roll(first)

    def _takes(self, size_bytes: int, count: int, ahead_bytes: int = 0, ahead_events: int = 0) -> bool:
        """Whether the newest segment takes an append behind what is in it and what is ahead of it."""
        writer = self.writer
        if writer is None:
            return False
        ahead_events += writer.events
        if ahead_events == 0:
            return True
        ground = self._ground
        if writer.segment.size_bytes + ahead_bytes + size_bytes > ground.segment_bytes:
            return False
        if ahead_events + count > ground.segment_events:
            return False
        if ground.age_us is None:
            return True
        return ground.numbering.clock_us() - writer.segment.first <= ground.age_us // SEGMENTS_KEPT

    def _fitting(self, appends: Sequence[PendingAppend]) -> int:
        """How many of the first ones the newest segment takes."""
        size_bytes = events = 0
        for place, each in enumerate(appends):
            if not self._takes(each.size_bytes, len(each.records), size_bytes, events):
                return place
            size_bytes += each.size_bytes
            events += len(each.records)
        return len(appends)

    def _write_as_one(self, appends: Sequence[PendingAppend]) -> None:
        """Write several appends as one: the write-ahead file has each of them whole."""
        records = [record for each in appends for record in each.records]
        offsets = [each.offsets for each in appends if each.offsets is not None]
        self._write(records, offsets[-1] if offsets else None)

    def _write(self, records: Sequence[Record], offsets: StreamOffsets | None) -> None:
        writer = self.writer
        assert writer is not None
        segment = writer.segment
        before = segment.size_bytes
        try:
            writer.write(records, offsets)
        except OSError as fault:
            writer.take_back()
            raise fault_of("write", segment.path, fault) from fault
        self.kept_bytes += segment.size_bytes - before
        self.events += len(records)
        self.head = records[-1][0]
        if offsets is not None:
            self.offsets = offsets

    # Make, drop.

    def _roll(self, first: Seq) -> None:
        """Go on in a new segment, whose first event has this sequence. Raises StoreIo, StoreMissing."""
        opening = Opening(self.head, self.events, self.offsets)
        writer = SegmentWriter(self._files, Segment(self._directory, first, opening=opening))
        try:
            writer.prepare()
        except OSError as fault:
            self._drop_file(writer)
            raise fault_of("create", writer.segment.path, fault) from fault
        full, self.writer = self.writer, writer
        self.kept.append(writer.segment)
        self.kept_bytes += writer.segment.size_bytes
        self.unsynced.directories.add(self._directory)
        if full is None:
            return
        if self._ground.wal is not None and full.synced_bytes < full.segment.size_bytes:
            self.unsynced.rolled.append(full)
        else:
            full.rest()

    def _give_up_empty(self) -> None:
        """After a failed append: a segment that was made for it goes."""
        writer = self.writer
        assert writer is not None
        if writer.events == 0:
            self.kept.pop()
            self.writer = None
            self.kept_bytes -= writer.segment.size_bytes
            self._drop_file(writer)

    def _drop_file(self, writer: SegmentWriter) -> None:
        """A segment was made for nothing; if its file stays, the next start removes it."""
        writer.rest()
        with suppress(OSError):
            self._files.unlink(writer.segment.path)

    def trim(self) -> bool:
        """Drop the oldest while the log is over its bounds, never the newest; whether any went."""
        has_dropped = False
        while len(self.kept) > 1 and self._is_over():
            self._drop_oldest()
            has_dropped = True
        return has_dropped

    def _is_over(self) -> bool:
        ground, pending = self._ground, self.pending
        bounds = ground.retention
        if self.kept_bytes + pending.size_bytes > bounds.max_bytes:
            return True
        if self.events + pending.events - self.dropped > bounds.max_events:
            return True
        if ground.age_us is None:
            return False
        return self.kept[0].first < ground.numbering.clock_us() - ground.age_us

    def _drop_oldest(self) -> None:
        dropped, follower = self.kept[:2]
        try:
            opening = opening_of(self._files, follower)
        except StoreFault:  # Readers who come to it are told so.
            self.trimmed_through = Seq(follower.first - 1)
        else:
            self.trimmed_through = opening.after
            self.dropped = opening.events
        del self.kept[0]
        self.kept_bytes -= dropped.size_bytes
        self.unsynced.forget(dropped)
        try:
            self._files.unlink(dropped.path)
        except FileNotFoundError:
            pass
        except OSError:
            self._ground.leftover.append(dropped.path)

    # Read.

    def read(self, after: Seq, bounds: Bounds) -> Sequence[bytes]:
        """What they have behind a position, and what is pending behind them.

        Raises:
            StoreCorrupt, StoreMissing, StoreIo: The first event there cannot be read.
        """
        taken = self._read(after, bounds)
        while taken and (left := bounds.left_after(taken)) is not None:
            try:
                further = self._read(envelope_seq(taken[-1]), left)
            except StoreFault:
                return taken  # The next read comes to it.
            if not further:
                break
            taken = [*taken, *further]
        left = bounds.left_after(taken)
        if left is None or not self.pending.appends:
            return taken
        pending = list(self.pending.lines_after(envelope_seq(taken[-1]) if taken else after))
        return [*taken, *pending[: left.end(pending, 0, sum(map(len, pending)))]]

    def _read(self, after: Seq, bounds: Bounds) -> Sequence[bytes]:
        if not self.kept:
            return []
        remembered = self._ground.remembered
        reached = remembered.take(self, after)
        lines, reached = read_segments(self._files, self.kept, after, reached, bounds)
        if reached is not None:
            remembered.put(self, envelope_seq(lines[-1]) if lines else after, reached)
        return lines

    def opening_of(self, segment: Segment) -> Opening:
        """What came before one of them. Raises StoreCorrupt, StoreMissing, StoreIo."""
        return opening_of(self._files, segment)

    def paths_from(self, seq: Seq) -> Sequence[str]:
        """The files that hold what the log has from a sequence on, and their directory."""
        first = max(0, bisect_right(self.kept, seq, key=lambda segment: segment.first) - 1)
        return [*(segment.path for segment in self.kept[first:]), self._directory]

    # Their files.

    def require_files(self) -> None:
        """See that nobody removed them. Raises StoreMissing, StoreIo."""
        writer = self.writer
        if writer is None or writer.fd < 0:
            try:
                self._files.stat(self._directory)
            except OSError as fault:
                raise fault_of("append", self._directory, fault) from fault
        elif not writer.is_there():
            raise StoreMissing("append", self._directory, "its files were removed")

    def rest(self, *, finally_: bool) -> None:
        """Close files that are not needed now; `finally_`: all of them."""
        writer = self.writer
        if writer is None:
            return
        if finally_ or writer.synced_bytes == writer.segment.size_bytes or self._ground.wal is None:
            writer.rest()
        if finally_:
            self.unsynced.rest()


def bytes_of(records: Sequence[Record]) -> int:
    """What an append adds to a segment, at most."""
    if len(records) == 1:
        return len(records[0].line) + 1 + COMMIT_BYTES_MAX
    return sum([len(line) for _, line in records]) + len(records) + COMMIT_BYTES_MAX
