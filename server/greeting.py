"""The first frame of a feed of version 2."""

from __future__ import annotations

from watchglass import __version__
from watchglass.protocol.cursor import encode_cursor
from watchglass.protocol.errors import CursorExpired
from watchglass.protocol.feed_v2 import FeedFilter, FeedRetention, Hello
from watchglass.protocol.start import FeedQuery
from watchglass.runtime import Pin, Reader, Runtime, pinned_frame, unpinned


def pin_for(query: FeedQuery) -> Pin:
    """What is to be said of the worker: a reader that may have to start over needs a snapshot."""
    wants_none = query.snapshot == "none" and query.on_expired == "close"
    return unpinned if wants_none else pinned_frame


async def hello(runtime: Runtime, reader: Reader, query: FeedQuery, heartbeat_s: float) -> Hello:
    """Where a reader stands that has just joined."""
    try:
        replay_count = await reader.count_replayed()
    except CursorExpired:  # Retention overtook it already: the next it hears is that.
        replay_count = 0
    kept = runtime.retention
    return Hello(
        as_of=encode_cursor(reader.as_of),
        requested=query.requested,
        resumed_from=encode_cursor(reader.position),
        oldest=encode_cursor(reader.oldest),
        replay_count=replay_count,
        retention=FeedRetention(
            max_bytes=kept.max_bytes, max_events=kept.max_events, max_age_s=kept.max_age_s
        ),
        filter=FeedFilter(types=None if query.types is None else list(query.types)),
        heartbeat_s=heartbeat_s,
        durability=runtime.durability,
        runtime_id=runtime.runtime_id,
        worker_id=reader.worker_id,
        server_version=__version__,
    )
