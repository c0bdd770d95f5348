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
"""

from __future__ import annotations

import errno
import os
import struct
import time

STDOUT = 1
STDERR = 2
RECORD = struct.Struct("<QQIB3x")
READ_BYTES = 64 * 1024

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

    def append(self, stream: int, offset: int, length: int) -> None:
        """Raises OSError when the record is not in the file as a whole."""
        record = RECORD.pack(time.time_ns() // 1000, offset, length, stream)
        if os.pwrite(self._fd, record, self._end) != len(record):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "output.idx")
        self._end += len(record)


class Pump:
    """One stream: reads `pipe`, writes `log` up to `max_bytes`, counts everything."""

    __slots__ = (
        "_buffer",
        "_index",
        "_log",
        "_max_bytes",
        "_stream",
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
        self.pipe = pipe
        self.is_closed = False
        self.total = 0
        self.kept = 0
        self.error_number: int | None = None

    def pump(self) -> bool:
        """Move what one read gives; True when something was kept. `is_closed` after the end."""
        if self.is_closed:
            return False
        if not self._buffer:  # Made when the worker first speaks: many are silent.
            self._buffer = bytearray(READ_BYTES)
        try:
            count = os.readv(self.pipe, [self._buffer])
        except BlockingIOError:
            return False
        if count == 0:
            self.close_pipe()
            return False
        self.total += count
        return self._keep(min(count, self._max_bytes - self.kept))

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

    def _keep(self, count: int) -> bool:
        if count <= 0 or self.error_number is not None:
            return False
        written = self._write(count)
        if written == 0:
            return False
        try:
            self._index.append(self._stream, self.kept, written)
        except OSError as error:
            self.error_number = error.errno
            return False
        self.kept += written
        return True

    def _write(self, count: int) -> int:
        """Write the first `count` bytes of the buffer; return how many the log took."""
        written = 0
        with memoryview(self._buffer) as view:
            while written < count:
                try:
                    written += os.write(self._log, view[written:count])
                except OSError as error:
                    self.error_number = error.errno
                    break
        return written
