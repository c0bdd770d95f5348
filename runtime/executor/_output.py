"""Reading a worker's output from its files, in the order in which it was read from the pipes.

`host/pump.py` draws the format. A record is written after the bytes that it
tells of, so what the index shows is in the logs.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Literal, NamedTuple

from .host.pump import RECORD, STDERR, STDOUT

_FILES: dict[int, tuple[Literal["stdout", "stderr"], str]] = {
    STDOUT: ("stdout", "stdout.log"),
    STDERR: ("stderr", "stderr.log"),
}
_INDEX = 0
_RECORDS_AT_ONCE = 256


class OutputChunk(NamedTuple):
    """Bytes of one stream, from `offset` on; `time_us` is when the first of them was read from the pipe."""

    stream: Literal["stdout", "stderr"]
    offset: int
    data: bytes
    time_us: int


class _Piece(NamedTuple):
    """A record, or what is left of one, or neighbours of one stream merged."""

    stream: int
    offset: int
    length: int
    time_us: int


class Output:
    """A position in one worker's output. Files are opened when first needed."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._fds: dict[int, int] = {}
        self._next_record = 0
        self._ahead: list[_Piece] = []  # Read from the index and not handed out, the next one last.
        self._is_closed = False

    def read(self, max_bytes: int) -> list[OutputChunk]:
        """What follows, at most `max_bytes` in sum; [] when there is nothing now, or after `close`.

        Raises:
            OSError: The files are gone, or hold less than their index says.
        """
        pieces: list[_Piece] = []
        left = max_bytes
        while left > 0 and (piece := self._next_piece()) is not None:
            if piece.length > left:
                self._ahead.append(
                    piece._replace(offset=piece.offset + left, length=piece.length - left),
                )
                piece = piece._replace(length=left)
            left -= piece.length
            if pieces and pieces[-1].stream == piece.stream:
                pieces[-1] = pieces[-1]._replace(length=pieces[-1].length + piece.length)
            else:
                pieces.append(piece)
        return [self._chunk(piece) for piece in pieces]

    def indexed_bytes(self) -> tuple[int, int]:
        """How much of stdout and stderr the index tells of, wherever the position is. Raises OSError."""
        sums = {STDOUT: 0, STDERR: 0}
        at = 0
        while records := self._records(at):
            at += len(records)
            for _time_us, _offset, length, stream in records:
                sums[stream] += length
        return sums[STDOUT], sums[STDERR]

    def close(self) -> None:
        self._is_closed = True
        while self._fds:
            _, fd = self._fds.popitem()
            os.close(fd)

    def _next_piece(self) -> _Piece | None:
        if not self._ahead and not self._is_closed:
            records = self._records(self._next_record)
            self._next_record += len(records)
            self._ahead = [
                _Piece(stream, offset, length, time_us)
                for time_us, offset, length, stream in reversed(records)
            ]
        return self._ahead.pop() if self._ahead else None

    def _records(self, at: int) -> list[tuple[int, int, int, int]]:
        read = os.pread(self._fd(_INDEX, "output.idx"), _RECORDS_AT_ONCE * RECORD.size, at * RECORD.size)
        whole = len(read) - len(read) % RECORD.size
        return list(RECORD.iter_unpack(read[:whole]))

    def _chunk(self, piece: _Piece) -> OutputChunk:
        name, file_name = _FILES[piece.stream]
        data = os.pread(self._fd(piece.stream, file_name), piece.length, piece.offset)
        if len(data) != piece.length:
            raise OSError(errno.EIO, "shorter than its index says", str(self._directory / file_name))
        return OutputChunk(name, piece.offset, data, piece.time_us)

    def _fd(self, key: int, name: str) -> int:
        if key not in self._fds:
            path = self._directory / name
            self._fds[key] = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        return self._fds[key]
