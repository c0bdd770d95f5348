"""A worker's output on its way from the pipes to the files, and the files' format.

`stdout.log` and `stderr.log` hold the raw bytes: the first ones that the worker
wrote, exactly, up to the cap. `output.idx` holds their common order, records of
24 bytes, little-endian, each telling of bytes that are in the log already:

    0          8         16      20       21      24
    | time_us  | offset  | length | stream | zero  |
      u64        u64       u32      u8: 1 stdout, 2 stderr

`time_us` is the wall clock in microseconds since 1970 when the bytes were read
from the pipe. The offsets of a stream have no holes. A tail shorter than a
record is not a record.

Further bytes are read, counted and dropped, so the worker never blocks on a cap.
The same holds after a write that failed: what is kept stays a true beginning.

A full disk is no such failure. What was read is held until there is room, and
nothing more is read: the worker waits in its write as it would for a slow disk.
"""

from __future__ import annotations

import errno
import os
import struct
import time
from collections.abc import Callable

STDOUT = 1
STDERR = 2
RECORD = struct.Struct("<QQIB3x")
READ_BYTES = 64 * 1024

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


def create(name: str, directory_fd: int) -> int:
    """A new empty file in the worker's directory, for its owner alone."""
    return os.open(name, _CREATE, 0o600, dir_fd=directory_fd)


class Index:
    """The common order of both streams; appended to by their pumps."""

    __slots__ = ("_end", "_fd")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._end = 0

    def append(self, stream: int, offset: int, length: int, time_us: int) -> None:
        """Raises OSError when the record is not in the file as a whole; the next one takes its place."""
        record = RECORD.pack(time_us, offset, length, stream)
        if os.pwrite(self._fd, record, self._end) != len(record):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "output.idx")
        self._end += len(record)


class Pump:
    """One stream: reads `pipe`, writes `log` up to `max_bytes`, counts everything.

    While it `is_held`, `pump` does nothing; `retry` or `give_up` ends that.
    """

    __slots__ = (
        "_buffer",
        "_index",
        "_indexed",
        "_log",
        "_logged",
        "_max_bytes",
        "_no_room",
        "_stream",
        "_time_us",
        "_until",
        "error_number",
        "is_closed",
        "kept",
        "pipe",
        "total",
    )

    def __init__(self, stream: int, pipe: int, log: int, index: Index, *, max_bytes: int) -> None:
        self._stream = stream
        self._log = log
        self._index = index
        self._max_bytes = max_bytes
        self._buffer = bytearray()
        self._indexed = self._logged = self._until = 0  # In the buffer: told of, written, to be kept.
        self._time_us = 0
        self.pipe = pipe
        self.is_closed = False
        self._no_room: int | None = None
        self.total = 0
        self.kept = 0
        self.error_number: int | None = None

    @property
    def is_held(self) -> bool:
        """Whether bytes wait here for room on the disk."""
        return self._no_room is not None

    def pump(self) -> bool:
        """Move what one read gives; True when something was kept. `is_closed` after the end."""
        if self.is_closed or self.is_held:
            return False
        try:
            count = self._read()
        except BlockingIOError:
            return False
        if count == 0:
            self.close_pipe()
            return False
        self.total += count
        if self.error_number is not None:
            return False
        self._time_us = time.time_ns() // 1000
        self._indexed = self._logged = 0
        self._until = min(count, self._max_bytes - self.kept)
        return self._keep()

    def retry(self) -> bool:
        """Try again to keep what is held; True when more of it was kept."""
        self._no_room = None
        return self._keep()

    def give_up(self) -> None:
        """Keep no more: what is held counts as lost, and what follows too."""
        self.error_number, self._no_room = self._no_room, None

    def close_pipe(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            os.close(self.pipe)

    def close_log(self) -> None:
        """Cut off what was written but could not be indexed; after it, the log holds `kept` bytes."""
        try:
            if self.error_number is not None:
                os.ftruncate(self._log, self.kept)
        except OSError as error:
            self.error_number = error.errno
        finally:
            os.close(self._log)

    def _read(self) -> int:
        """Into the buffer, which is made when the worker first speaks: many are silent. Raises OSError."""
        if self._buffer:
            return os.readv(self.pipe, [self._buffer])
        first = os.read(self.pipe, READ_BYTES)
        if first:
            self._buffer = bytearray(READ_BYTES)
            self._buffer[: len(first)] = first
        return len(first)

    def _keep(self) -> bool:
        """Write what is not written, and tell the index of it, also when there was room for a part alone."""
        before = self.kept
        self._try(self._write)
        self._try(self._tell)
        return self.kept > before

    def _try(self, step: Callable[[], None]) -> None:
        try:
            step()
        except OSError as error:
            if error.errno in _NO_ROOM and self.error_number is None:
                self._no_room = error.errno
            else:
                self.error_number = error.errno
                self._no_room = None

    def _write(self) -> None:
        with memoryview(self._buffer) as view:
            while self._logged < self._until:
                self._logged += os.write(self._log, view[self._logged : self._until])

    def _tell(self) -> None:
        length = self._logged - self._indexed
        if length > 0:
            self._index.append(self._stream, self.kept, length, self._time_us)
            self._indexed = self._logged
            self.kept += length
