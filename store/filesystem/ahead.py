"""Room in a file before it is needed: zeros behind what is written.

    [ what was written ][ 0 0 0 … room ]

A write that stays within the room changes no size. So its sync brings the bytes
to the disk and nothing else, where a file that grows would have its new size go
through the file system's journal, too: on ext4 that is half of a sync's time.
Zeros are written for it, not only reserved, for a block that was reserved is
changed in that journal when it is first written.

What is kept in such a file never ends with a zero, so whoever reads it knows
where the room begins.
"""

from __future__ import annotations

from .files import Files

ROOM_BYTES = 64 << 10
WRITES_MIN = 8
"""So many more like it must fit into the room that a write makes, for all of it is written twice."""
_WINDOW_BYTES = 64 << 10


def room_bytes_behind(size_bytes: int) -> int:
    """How much room to make with a write of this size."""
    return ROOM_BYTES if size_bytes * WRITES_MIN <= ROOM_BYTES else 0


def without_room(data: bytes) -> bytes:
    """What was written of a whole file's bytes."""
    return data.rstrip(b"\0")


def written_bytes(files: Files, fd: int) -> int:
    """How much of an open file was written. Raises OSError."""
    end = files.fstat(fd).st_size
    while end:
        begin = max(0, end - _WINDOW_BYTES)
        if written := without_room(files.read_through(fd, end - begin, begin)):
            return begin + len(written)
        end = begin
    return 0
