"""Reading a worker's output from its files, in the order in which it was read from the pipes.

`host/pump.py` draws the format. A record is written after the bytes that it
tells of, so what the index shows is in the logs.

Who goes on where somebody else stopped says how much of each stream was read.
The two places need not be next to each other in the index: one stream may lag.
What was read of the other one in between is skipped.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from .host.pump import RECORD, STDERR, STDOUT

_FILES: dict[int, tuple[Literal["stdout", "stderr"], str]] = {
    STDOUT: ("stdout", "stdout.log"),
    STDERR: ("stderr", "stderr.log"),
}
_INDEX = 0
_STREAM_AT = 20  # In a record.
_RECORDS_AT_ONCE = 256
_RECORDS_SEARCHED = 4096  # At once, where most are only passed over.


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

    @property
    def end(self) -> int:
        return self.offset + self.length

    def after(self, offset: int) -> _Piece:
        return self._replace(offset=offset, length=self.end - offset)


class Output:
    """A position in one worker's output. Files are opened when first needed."""

    def __init__(self, directory: Path, *, stdout_from: int = 0, stderr_from: int = 0) -> None:
        """Begin behind so many bytes of each stream."""
        self._directory = directory
        self._fds: dict[int, int] = {}
        self._next = {STDOUT: stdout_from, STDERR: stderr_from}
        self._next_record: int | None = None if stdout_from or stderr_from else 0
        self._searched_to = 0  # Records before this one may be covered by what was read elsewhere.
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
                self._ahead.append(piece.after(piece.offset + left))
                piece = piece._replace(length=left)
            left -= piece.length
            self._next[piece.stream] = piece.end
            if pieces and pieces[-1].stream == piece.stream:
                pieces[-1] = pieces[-1]._replace(length=pieces[-1].length + piece.length)
            else:
                pieces.append(piece)
        return [self._chunk(piece) for piece in pieces]

    def finish(self, stdout_bytes: int, stderr_bytes: int) -> None:
        """Close: so much was kept, and nothing more is in the index.

        Raises:
            OSError: Less than that was there to read. It stays open.
        """
        if not self._is_closed:
            for stream, kept in ((STDOUT, stdout_bytes), (STDERR, stderr_bytes)):
                if self._next[stream] < kept:
                    raise self._cut(stream)
            self.close()

    def indexed_bytes(self) -> tuple[int, int]:
        """How much of stdout and stderr the index tells of, wherever the position is. Raises OSError."""
        ends = {STDOUT: 0, STDERR: 0}
        unseen = [stream for stream in ends if self._size(stream, _FILES[stream][1])]
        end = self._size(_INDEX, "output.idx") // RECORD.size
        while end and unseen:
            start = max(0, end - _RECORDS_SEARCHED)
            block = self._block(start, end - start)
            for stream in list(unseen):
                last = block.last(stream)
                if last is not None:
                    ends[stream] = last.end
                    unseen.remove(stream)
            end = start
        return ends[STDOUT], ends[STDERR]

    def close(self) -> None:
        """Read no more; the files stay as they are."""
        self._is_closed = True
        while self._fds:
            _, fd = self._fds.popitem()
            os.close(fd)

    def _next_piece(self) -> _Piece | None:
        """What of the next record is behind our position; records before it are passed over."""
        while (piece := self._next_record_piece()) is not None:
            place = self._next[piece.stream]
            if piece.offset > place:
                raise self._cut(piece.stream)  # It went on behind bytes that are gone.
            if piece.end > place:
                return piece.after(place)
        return None

    def _next_record_piece(self) -> _Piece | None:
        if not self._ahead and not self._is_closed:
            self._ahead = self._next_block().pieces()
        return self._ahead.pop() if self._ahead else None

    def _next_block(self) -> _Block:
        """The records that follow, without whole blocks that are covered."""
        if self._next_record is None:
            self._next_record = self._find_start()
        while True:
            is_search = self._next_record < self._searched_to
            block = self._block(self._next_record, _RECORDS_SEARCHED if is_search else _RECORDS_AT_ONCE)
            self._next_record += len(block)
            if not is_search or not block.is_covered(self._next):
                return block

    def _find_start(self) -> int:
        """The first record that tells of bytes behind our position; searched from the end of the index.

        A stream whose log ends at our position has none before that end. (Or
        somebody cut the log; then what follows does not fit, or `finish` tells.)
        """
        end = start = self._searched_to = self._size(_INDEX, "output.idx") // RECORD.size
        searched = [
            stream for stream in self._next if self._size(stream, _FILES[stream][1]) > self._next[stream]
        ]
        while end and searched:
            at = max(0, end - _RECORDS_SEARCHED)
            block = self._block(at, end - at)
            for stream in list(searched):
                uncovered = block.first_behind(stream, self._next[stream])
                if uncovered is not None:
                    start = min(start, at + uncovered)
                if block.reaches(stream, self._next[stream]):
                    searched.remove(stream)
            end = at
        return start

    def _block(self, at: int, count: int) -> _Block:
        """At most `count` whole records from number `at` on."""
        read = os.pread(self._fd(_INDEX, "output.idx"), count * RECORD.size, at * RECORD.size)
        return _Block(read[: len(read) - len(read) % RECORD.size])

    def _chunk(self, piece: _Piece) -> OutputChunk:
        name, file_name = _FILES[piece.stream]
        data = os.pread(self._fd(piece.stream, file_name), piece.length, piece.offset)
        if len(data) != piece.length:
            raise self._cut(piece.stream)
        return OutputChunk(name, piece.offset, data, piece.time_us)

    def _cut(self, stream: int) -> OSError:
        path = self._directory / _FILES[stream][1]
        return OSError(errno.EIO, "shorter than its index says", str(path))

    def _size(self, key: int, name: str) -> int:
        return os.fstat(self._fd(key, name)).st_size

    def _fd(self, key: int, name: str) -> int:
        if key not in self._fds:
            path = self._directory / name
            self._fds[key] = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        return self._fds[key]


class _Block:
    """Neighbouring records of the index, searched without unpacking each: there may be millions."""

    def __init__(self, records: bytes) -> None:
        self._records = records
        self._streams = records[_STREAM_AT :: RECORD.size]

    def __len__(self) -> int:
        return len(self._streams)

    def pieces(self) -> list[_Piece]:
        """All of them, the first one last."""
        unpacked = reversed(list(RECORD.iter_unpack(self._records)))
        return [_Piece(stream, offset, length, time_us) for time_us, offset, length, stream in unpacked]

    def is_covered(self, places: Mapping[int, int]) -> bool:
        """Whether no byte told of here is behind the first ones of its stream, so many as `places` says."""
        lasts = [self.last(stream) for stream in places]
        return all(last is None or last.end <= places[last.stream] for last in lasts)

    def last(self, stream: int) -> _Piece | None:
        at = self._streams.rfind(stream)
        return None if at < 0 else self._piece(at)

    def reaches(self, stream: int, place: int) -> bool:
        """Whether all records of the stream before this block are covered by the first `place` bytes."""
        at = self._streams.find(stream)
        return at >= 0 and self._piece(at).offset <= place

    def first_behind(self, stream: int, place: int) -> int | None:
        """The number of the stream's first record with a byte behind the first `place` bytes."""
        at = self._streams.find(stream)
        while at >= 0 and self._piece(at).end <= place:
            at = self._streams.find(stream, at + 1)
        return None if at < 0 else at

    def _piece(self, at: int) -> _Piece:
        time_us, offset, length, stream = RECORD.unpack_from(self._records, at * RECORD.size)
        return _Piece(stream, offset, length, time_us)
