"""Walks through a file of sealed lines, however damaged it is, and tells what of it is as it was written.

    [ good ][ good ][   bad   ][ good ] … [ torn ]

A stretch ends with a sealed line (`seal.py`) and is good when its sum holds. A
sum begins with what the sealed line before it states, so a damaged sealed line
would spoil its neighbour too: where a sum does not hold, the neighbour is tried
with the digits as they were written, and with those that they should have been.
So one flipped bit never costs more than the append that it is in.

Windows of the file are read, never all of it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from zlib import crc32

from .ahead import written_bytes
from .files import Files
from .seal import END_BYTES, KEY

WINDOW_BYTES = 1 << 20
UNSEALED_BYTES_MAX = 64 << 20
"""More than an append can have; what has no sealed line for so long is read over, not held."""
_SEALED = re.compile(rb'"crc":"[0-9a-f]{8}"\}\n')
_APPEND = re.compile(rb'\{"(?:cursor":"wo_|log":|create":|save":|delete":|crc":"|io":\[)')
"""What an append, or a round, begins with."""
_HEX = frozenset(b"0123456789abcdef")
_NEIGHBOURS_TRIED = 4
_CONTROL = re.compile(rb"[\x00-\x09\x0b-\x1f]")


def _beginning_of(*parts: str) -> str:
    """A pattern for every beginning of a line that is made of texts and (from `[` or `.` on) classes."""
    tokens: list[str] = []
    for part in parts:
        tokens += [part] if part[0] in "[." else [re.escape(char) for char in part]
    pattern = ""
    for token in reversed(tokens):
        pattern = f"(?:{token}{pattern})?"
    return pattern


_NUMBERS = ("[0-9]+", ",", "[0-9]+", ",", "[0-9]+")
_SEAL = ('"crc":"', *["[0-9a-f]"] * 8, '"}')
_WHOLE_LINES = re.compile(rb'(?:\{"(?:cursor|log|create|save|delete)":[^\n]*\}\n)*')
_BEGUN_LINE = re.compile(
    "|".join(
        rf"{_beginning_of(*parts)}\Z"
        for parts in (
            *(("{" + f'"{word}":', "[^\\n]+") for word in ("cursor", "log", "create", "save", "delete")),
            ("{", *_SEAL),
            ('{"io":[', *_NUMBERS, "],", *_SEAL),
            ('{"after":"', "[0-9a-f]+", '","events":', "[0-9]+", ',"io":[', *_NUMBERS, "],", *_SEAL),
            ('{"wal":', "[0-9]+", ',"schema":', "[0-9]+", ",", *_SEAL),
        )
    ).encode()
)


class Stretch(NamedTuple):
    """A part of a file, from behind a sealed line to behind another."""

    begin: int
    end: int
    lines: Sequence[bytes]
    """Without newlines, the sealed one last; none when it is bad."""
    is_mended: bool = False
    """Good, but for the end of its sealed line."""
    is_torn: bool = False
    """Bad, and may be what a kill leaves: the beginning of an append, cut short."""
    stated: int | None = None
    """Bad: the sum that its sealed line states, if what follows proves that."""

    @property
    def is_good(self) -> bool:
        """Whether it is what was written."""
        return bool(self.lines)


class _Start(NamedTuple):
    """Where a good stretch may begin, and the sum's state there."""

    offset: int
    crc: int
    stated: int
    is_computed: bool
    """The state follows from the bytes before: then these are good, too."""


def scan(files: Files, path: str, *, has_room: bool = False) -> Iterator[Stretch]:
    """Every stretch of a file, as large as it is now, but for the room behind them. Raises OSError."""
    fd = files.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size_bytes = written_bytes(files, fd) if has_room else files.fstat(fd).st_size
        yield from _Scan(files, fd, size_bytes).stretches()
    finally:
        files.close(fd)


def may_be_torn(data: bytes) -> bool:
    """Whether bytes may be the first ones of an append or a round, and nothing else."""
    if _SEALED.search(data) or _CONTROL.search(data):
        return False
    whole = _WHOLE_LINES.match(data)
    return _BEGUN_LINE.match(data, whole.end() if whole else 0) is not None


class _Scan:
    def __init__(self, files: Files, fd: int, size_bytes: int) -> None:
        self._files = files
        self._fd = fd
        self._size = size_bytes
        self._base = 0  # Where in the file `_data` begins.
        self._data = b""
        self._crc: int | None = 0  # Before `_data`; None: nobody knows.

    def stretches(self) -> Iterator[Stretch]:
        bad_from: int | None = None
        while self._more():
            yield from self._good()
            if not self._data or not (self._is_whole() or _SEALED.search(self._data)):
                if len(self._data) > UNSEALED_BYTES_MAX:
                    bad_from = self._base if bad_from is None else bad_from
                    self._skip(len(self._data) - END_BYTES - len(KEY))
                continue
            begin = self._base if bad_from is None else bad_from
            start = self._resync()
            if start is None:
                is_torn = begin == self._base and may_be_torn(self._data)
                yield Stretch(begin, self._size, (), is_torn=is_torn)
                return
            end = self._base + start.offset
            if start.is_computed:
                lines = self._data[: start.offset - END_BYTES] + b'%08x"}' % start.stated
                yield Stretch(begin, end, lines.split(b"\n"), is_mended=True)
            else:
                yield Stretch(begin, end, (), stated=start.stated)
            self._skip(start.offset)
            self._crc, bad_from = start.crc, None

    def _more(self) -> bool:
        """Read on; whether there is anything left to look at."""
        at = self._base + len(self._data)
        if at < self._size:
            want = min(max(WINDOW_BYTES, len(self._data)), self._size - at)
            piece = self._files.read_through(self._fd, want, at)
            if len(piece) < want:  # Somebody cut it meanwhile.
                self._size = at + len(piece)
            self._data += piece
        return bool(self._data)

    def _is_whole(self) -> bool:
        """Whether the rest of the file is here."""
        return self._base + len(self._data) >= self._size

    def _skip(self, count: int) -> None:
        self._data = self._data[count:]
        self._base += count
        self._crc = None

    def _good(self) -> Iterator[Stretch]:
        """What is good of what was read, up to the first that is not."""
        crc, at = self._crc, 0
        data, view = self._data, memoryview(self._data)
        if crc is None:
            return
        for match in _SEALED.finditer(data):
            end = match.end()
            sum_ = crc32(view[at : end - END_BYTES], crc)
            if b"%08x" % sum_ != data[end - END_BYTES : end - 3]:
                break
            yield Stretch(self._base + at, self._base + end, data[at : end - 1].split(b"\n"))
            crc, at = crc32(view[end - END_BYTES : end], sum_), end
        view.release()
        self._skip(at)
        self._crc = crc

    # Where a sum does not hold.

    def _resync(self) -> _Start | None:
        """Where good bytes begin again; None at the end of the file. `_data` begins with bad ones."""
        tried = 0
        while True:
            for start, offset in self._starts(tried):
                tried = offset
                if start is not None:
                    return start
            if self._is_whole() or len(self._data) > UNSEALED_BYTES_MAX:
                if self._is_whole():
                    return None
                self._pass_over(tried)
                tried = 0
            self._more()

    def _pass_over(self, tried: int) -> None:
        """Forget what was tried in vain, or has no end; the file goes on."""
        self._skip(max(tried, len(self._data) // 2))

    def _starts(self, tried: int) -> Iterator[tuple[_Start | None, int]]:
        """Try each place behind which an append may begin, if a sealed line follows that can prove it."""
        data = self._data
        seals = [match.end() for match in _SEALED.finditer(data)]
        places = set(seals)
        for match in _APPEND.finditer(data):
            place = match.start()
            digits = data[max(0, place - END_BYTES) : max(0, place - 3)]
            if len(digits) == 8 and sum(digit in _HEX for digit in digits) >= 7:
                places.add(place)
        ordered = sorted(places)
        for number, place in enumerate(ordered):
            following = [end for end in seals if end > place][:1]
            if place <= tried:
                continue
            if not following:
                return
            yield self._proved(place, following[0], is_near=number < _NEIGHBOURS_TRIED), place

    def _proved(self, place: int, end: int, *, is_near: bool) -> _Start | None:
        data = memoryview(self._data)
        wanted = int(bytes(data[end - END_BYTES : end - 3]), 16)
        stated: list[tuple[int, bool]] = []
        if is_near and self._crc is not None:
            stated.append((crc32(data[: place - END_BYTES], self._crc), True))
        digits = bytes(data[place - END_BYTES : place - 3])
        if all(digit in _HEX for digit in digits):
            stated.append((int(digits, 16), False))
        for number, is_computed in stated:
            crc = crc32(b'%08x"}\n' % number, number)
            if crc32(data[place : end - END_BYTES], crc) == wanted:
                return _Start(place, crc, number, is_computed)
        return None
