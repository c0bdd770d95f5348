"""How many events lie where in a log on the disk, without reading all of it.

Each segment's opening states how many events the log had before it, so only one
segment is read, and others have their turn meanwhile. What was counted leaves a mark
at every read, so that the next count in that segment reads a few hundred events.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Sequence

from watchglass.protocol.cursor import Seq
from watchglass.store.base import READ_RECORDS_MAX, ReadableLog
from watchglass.store.run import first_after

from .segment import Mark, Opening, Segment

OpeningOf = Callable[[Segment], Opening]
"""What a segment opens with. Raises StoreCorrupt, StoreMissing, StoreIo."""


async def events_through(
    log: ReadableLog, segments: Sequence[Segment], opening_of: OpeningOf, seq: Seq
) -> int:
    """How many events a log ever had up to a sequence, with it; for one behind retention.

    Raises:
        CursorExpired: Retention came to it meanwhile.
        StoreCorrupt, StoreMissing, StoreIo: As `Log.read`.
    """
    place = bisect_right(segments, seq, key=lambda segment: segment.first) - 1
    segment = segments[max(place, 0)]
    position, count = _nearest(segment, opening_of, seq)
    while position < seq:
        run = await log.read(after=position)
        if not run:
            break
        passed = first_after(run.lines, seq)
        if passed < len(run):
            return count + passed
        position, count = run.last, count + passed
        _remember(segment, Mark(position, count))
        await asyncio.sleep(0)
    return count


def _nearest(segment: Segment, opening_of: OpeningOf, seq: Seq) -> Mark:
    """What is known at or before a sequence."""
    place = bisect_right(segment.marks, seq, key=lambda mark: mark.seq) - 1
    if place >= 0:
        return segment.marks[place]
    opening = opening_of(segment)
    return Mark(opening.after, opening.events)


def _remember(segment: Segment, mark: Mark) -> None:
    """Begin there next time; somebody else may have been faster."""
    if not segment.marks or segment.marks[-1].seq < mark.seq:
        segment.marks.append(mark)


async def position_behind(
    log: ReadableLog, segments: Sequence[Segment], opening_of: OpeningOf, count: int
) -> Seq:
    """The position behind so many of all events that a log ever had; it is not in what retention dropped.

    Raises as `events_through`.
    """
    place = bisect_right(segments, count, key=lambda segment: opening_of(segment).events) - 1
    opening = opening_of(segments[max(place, 0)])
    left, position = count - opening.events, opening.after
    while left > 0:
        run = await log.read(after=position, max_records=min(left, READ_RECORDS_MAX))
        if not run:
            break
        left -= len(run)
        position = run.last
        await asyncio.sleep(0)
    return position
