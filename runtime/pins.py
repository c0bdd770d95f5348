"""What is said of a worker as a whole at the moment of a join: each version of the feed in its own words."""

from __future__ import annotations

from collections.abc import Callable

from watchglass.protocol.all_workers import SNAPSHOT_BYTES_MAX, SNAPSHOT_WORKERS_MAX
from watchglass.protocol.cursor import Seq, encode_cursor
from watchglass.protocol.feed_v2 import SnapshotFrame, encode_control
from watchglass.protocol.frames import encode_snapshot
from watchglass.store.numbering import rfc3339

from .chronicle import Watched
from .worker import Worker

Pin = Callable[[Worker, Seq, int], bytes]
"""The snapshot of a worker for a reader that is placed here, at this time in µs; it never waits."""


def pinned(worker: Worker, position: Seq, time_us: int) -> bytes:
    """The snapshot event of version 1."""
    return encode_snapshot(position, worker.worker_id, rfc3339(time_us), worker.snapshot())


def pinned_frame(worker: Worker, _position: Seq, _time_us: int) -> bytes:
    """The snapshot frame of version 2."""
    return encode_control(
        SnapshotFrame(
            as_of=encode_cursor(worker.log.head),
            worker=worker.detail(),
            open=worker.view.open(),
            transcript_len=worker.view.transcript_len,
        )
    )


def pinned_watched(watched: Watched, _position: Seq, _time_us: int) -> bytes:
    """The snapshot frame of a feed of several workers."""
    return watched.snapshot_frame(SNAPSHOT_WORKERS_MAX, SNAPSHOT_BYTES_MAX)


def unpinned(_subject: object, _position: Seq, _time_us: int) -> bytes:
    """None: the reader wants events alone."""
    return b""
