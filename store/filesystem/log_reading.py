"""One log on the disk, as far as it is read: what is visible of it, in memory or in its segments.

A log that nobody asked for more than `worker.json` keeps of it stays shut; the
first who needs its files opens it.
"""

from __future__ import annotations

from collections.abc import Sequence

from watchglass.protocol.cursor import BEGINNING, Seq, encode_cursor
from watchglass.protocol.errors import CursorExpired
from watchglass.protocol.identity import WorkerId
from watchglass.store.base import READ_BYTES_MAX, READ_RECORDS_MAX, Retention, Run
from watchglass.store.tail import Tail

from .counting import events_through, position_behind
from .ground import Ground
from .loading import NO_OFFSETS, LogFacts, LogState, load_log
from .replay import Bounds
from .segment import Segment
from .segments import Segments

_TAIL = Retention(max_bytes=1 << 20, max_events=1 << 30)


class ReadableFileLog:
    """See `ReadableLog`."""

    def __init__(
        self,
        ground: Ground,
        worker_id: WorkerId | None,
        directory: str,
        known: LogState | LogFacts | None,
    ) -> None:
        """A log whose segments stand in a directory; `worker_id` None is the runtime's own.

        `known` is what its files say, or what spares asking them. None: they could not
        be read; everybody who needs them is told why, or gets them when that is over.
        """
        self._is_known = known is not None
        known = known or LogFacts(BEGINNING, BEGINNING, BEGINNING, NO_OFFSETS)
        self._ground = ground
        self.worker_id = worker_id
        self.directory = directory
        self._tail = Tail(_TAIL, ground.numbering.clock_us, known.head)
        self.trimmed_through = known.trimmed_through
        self.offsets = known.offsets
        self._segments: Segments | None = None
        if isinstance(known, LogFacts):
            self.oldest = known.oldest
        else:
            self._take(known)

    def _take(self, found: LogState) -> Segments:
        """Begin with what loading found."""
        segments = self._segments = Segments(self._ground, self.directory, found)
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

    async def read(
        self, *, after: Seq, max_records: int = READ_RECORDS_MAX, max_bytes: int = READ_BYTES_MAX
    ) -> Run:
        """See `ReadableLog.read`."""
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
        """See `ReadableLog.holds`."""
        if seq <= self.trimmed_through or seq > self.head:
            return False
        if seq > self._tail.trimmed_through:
            return self._tail.holds(seq)
        return [record.seq for record in await self.read(after=Seq(seq - 1), max_records=1)] == [seq]

    async def count(self, *, after: Seq, through: Seq) -> int:
        """See `ReadableLog.count`."""
        self._require_kept(after)
        if after >= self._tail.trimmed_through:
            return self._tail.count(after=after, through=through)
        return await self._events_through(through) - await self._events_through(after)

    async def before_newest(self, count: int) -> Seq:
        """See `ReadableLog.before_newest`."""
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
        """See `ReadableLog.wait`."""
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
