"""How many events lie where in a log on the disk, without reading all of it.

Each segment's opening states how many events the log had before it, so only one
segment is read, and others have their turn meanwhile.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Sequence

from watchglass.protocol.cursor import Seq
from watchglass.store.base import READ_RECORDS_MAX, Log
from watchglass.store.run import first_after

from .segment import Opening, Segment

OpeningOf = Callable[[Segment], Opening]
"""What a segment opens with. Raises StoreCorrupt, StoreMissing, StoreIo."""


async def events_through(log: Log, segments: Sequence[Segment], opening_of: OpeningOf, seq: Seq) -> int:
    """How many events a log ever had up to a sequence, with it; for one behind retention.

    Raises:
        CursorExpired: Retention came to it meanwhile.
        StoreCorrupt, StoreMissing, StoreIo: As `Log.read`.
    """
    place = bisect_right(segments, seq, key=lambda segment: segment.first) - 1
    opening = opening_of(segments[max(place, 0)])
    count, position = opening.events, opening.after
    while position < seq:
        run = await log.read(after=position)
        if not run:
            break
        count += first_after(run.lines, seq)
        position = run.last
        await asyncio.sleep(0)
    return count


async def position_behind(log: Log, segments: Sequence[Segment], opening_of: OpeningOf, count: int) -> Seq:
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
