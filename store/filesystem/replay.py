"""Reads a log's segments one behind the other, for readers who are behind the tail in memory.

A reader is a position and comes back for what follows it. Where its last read
ended is remembered here, for a few readers at a time, so that reading on costs
no search; and what was verified and not yet taken is kept with it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from watchglass.protocol.cursor import Seq
from watchglass.protocol.frames import envelope_seq
from watchglass.store.run import count_within, first_after

from .files import Files
from .reading import SegmentReader, Window, missing_between
from .segment import BEGIN, Place, Segment

REMEMBERED_MAX = 64
REMEMBERED_BYTES_MAX = 16 << 20
_WANT_BYTES_MIN = 8 << 10
_RECORD_BYTES_LIKELY = 512


class Reached(NamedTuple):
    """How far a reader is: verified lines, not taken from `next` on, and the place behind them.

    `size_bytes`: all lines together have no more.
    """

    segment: Segment
    end: Place
    lines: Sequence[bytes] = ()
    next: int = 0
    size_bytes: int = 0


class Remembered:
    """Where the readers of all logs are, the newest few of them."""

    def __init__(self) -> None:
        self._reached: OrderedDict[tuple[object, Seq], Reached] = OrderedDict()
        self._size_bytes = 0

    def take(self, log: object, after: Seq) -> Reached | None:
        """Where a reader of this log at this position stood; it is forgotten here."""
        reached = self._reached.pop((log, after), None)
        if reached is not None:
            self._size_bytes -= _size_bytes(reached)
        return reached

    def put(self, log: object, after: Seq, reached: Reached) -> None:
        """Remember it, and forget others when there are too many."""
        self.take(log, after)
        self._reached[log, after] = reached
        self._size_bytes += _size_bytes(reached)
        while len(self._reached) > 1 and (
            len(self._reached) > REMEMBERED_MAX or self._size_bytes > REMEMBERED_BYTES_MAX
        ):
            _, old = self._reached.popitem(last=False)
            self._size_bytes -= _size_bytes(old)


def _size_bytes(reached: Reached) -> int:
    """Roughly, for a bound: each line is an object of its own."""
    return reached.size_bytes + 50 * len(reached.lines)


class Bounds(NamedTuple):
    """The most that one read gives; and the least, however large that is."""

    max_records: int
    max_bytes: int
    at_least: int = 1

    @property
    def want_bytes(self) -> int:
        """How much of a segment to read for it."""
        return max(_WANT_BYTES_MIN, min(self.max_bytes, self.max_records * _RECORD_BYTES_LIKELY))

    def left_after(self, taken: Sequence[bytes]) -> Bounds | None:
        """What is to be added to the lines that were taken; None when they are enough.

        That is half of the bytes: filling up a read costs more than the next one, which begins with a window.
        """
        max_records = self.max_records - len(taken)
        if max_records <= 0 or not taken:
            return None if taken else self
        max_bytes = self.max_bytes - sum(map(len, taken))
        return Bounds(max_records, max_bytes, 0) if 2 * max_bytes > self.max_bytes else None

    def end(self, lines: Sequence[bytes], start: int, size_bytes: int) -> int:
        """Behind the last of the lines from `start` on that fit; all together have `size_bytes` at most."""
        end = min(start + self.max_records, len(lines))
        if size_bytes <= self.max_bytes:
            return end
        return start + max(min(self.at_least, end - start), count_within(lines[start:end], self.max_bytes))


def read_segments(
    files: Files, segments: Sequence[Segment], after: Seq, reached: Reached | None, bounds: Bounds
) -> tuple[Sequence[bytes], Reached | None]:
    """The lines behind a position, and where the reader is then; none at the end of what is written.

    Raises StoreCorrupt, StoreMissing, StoreIo.
    """
    if reached is None or reached.segment.first < segments[0].first:
        reached = _locate(files, segments, after, bounds)
    while reached.next >= len(reached.lines):
        further = _go_on(files, segments, after, reached, bounds)
        if further is None:
            return (), reached
        reached = further
    start = reached.next
    end = bounds.end(reached.lines, start, reached.size_bytes)
    taken = reached.lines[start:end]
    if end == len(reached.lines):
        return taken, Reached(reached.segment, reached.end)
    return taken, reached._replace(next=end)


def _locate(files: Files, segments: Sequence[Segment], after: Seq, bounds: Bounds) -> Reached:
    """Where a reader at a position has to begin."""
    place = bisect_right(segments, after, key=lambda segment: segment.first) - 1
    segment = segments[max(place, 0)]
    if place < 0 or segment.size_bytes == 0:
        return Reached(segment, BEGIN)
    with SegmentReader(files, segment) as reader:
        begin = reader.find(after)
        window = reader.window(begin, bounds.want_bytes)
    if window is None or (begin.offset > 0 and not _begins_before(window, after)):
        return Reached(segment, BEGIN)  # The search was led astray by corrupt bytes.
    return _reached(segment, begin, window, after)


def _begins_before(window: Window, after: Seq) -> bool:
    return bool(window.lines) and envelope_seq(window.lines[0]) <= after


def _reached(segment: Segment, begin: Place, window: Window, after: Seq) -> Reached:
    size_bytes = window.end.offset - begin.offset
    return Reached(segment, window.end, window.lines, first_after(window.lines, after), size_bytes)


def _go_on(
    files: Files, segments: Sequence[Segment], after: Seq, reached: Reached, bounds: Bounds
) -> Reached | None:
    """The next window behind a place, in this segment or the next; None at the end."""
    segment, begin = reached.segment, reached.end
    if begin.offset >= segment.size_bytes:
        place = bisect_right(segments, segment.first, key=lambda each: each.first)
        if place == len(segments):
            return None
        segment, begin = segments[place], BEGIN
    if segment.size_bytes == 0:
        return None
    with SegmentReader(files, segment) as reader:
        window = reader.window(begin, bounds.want_bytes)
    assert window is not None
    if window.opening is not None and window.opening.after > after:
        raise missing_between(segment.path, after, window.opening)
    return _reached(segment, begin, window, after)
