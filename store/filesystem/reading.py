"""Reads segments: finds a place, takes what follows it, and believes nothing unverified.

A *window* is a stretch of a segment from behind one sealed line to the end of
another: its first byte's checksum state is known, its last line states the sum,
so one calculation verifies all of it. A search by bisection reads unverified
bytes, so what it finds is believed only when the verified window says so too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Self
from zlib import crc32

from watchglass.protocol.cursor import BEGINNING, Seq
from watchglass.protocol.errors import StoreCorrupt, StoreMissing
from watchglass.protocol.frames import ENVELOPE_SEQ, envelope_seq
from watchglass.store.base import StreamOffsets

from .files import Files, fault_of
from .seal import END_BYTES, crc_behind, stated_crc
from .segment import BEGIN, Opening, Place, Segment, parsed_opening

_EVENT_BYTE = ord("u")  # An event's line is `{"cursor…`; opening and commit lines have another fourth byte.
_SEALED_END = b'"}\n'  # An event's line ends with the braces of its data, its payload and itself.
_OFFSETS_MARK = b'\n{"io":['
OPENING_BYTES_MAX = 256
_SEARCH_BYTES = 512
"""How near a search comes: damage that lies further before a position costs its reader nothing."""
_PEEK_BYTES = 2 << 10


class Window(NamedTuple):
    """Verified events' lines, the place behind them, and (in a segment's first window) its opening."""

    lines: Sequence[bytes]
    end: Place
    opening: Opening | None


class SegmentReader:
    """One open segment. Every method raises StoreCorrupt or StoreIo, naming file and offset."""

    def __init__(self, files: Files, segment: Segment) -> None:
        """Open it. Raises StoreMissing when its file is gone."""
        self._files = files
        self._segment = segment
        try:
            self._fd = files.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as fault:
            raise fault_of("read", segment.path, fault) from fault

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close(self._fd)

    def window(self, place: Place, want_bytes: int) -> Window | None:
        """About this many bytes behind a place, at least one append; None at the segment's end.

        What is good before a bad spot is given; a window that would begin with it raises.
        """
        left = self._segment.size_bytes - place.offset
        if left <= 0:
            return None
        data = self._read(place.offset, min(want_bytes, left))
        end = _last_sealed_end(data)
        while not end and len(data) < left:  # A large append: no further than its end.
            known = len(data)
            data += self._read(place.offset + known, min(3 * known, left - known))
            end = _first_sealed_end(data, known)
        if end and _seal_holds(data, end, place.crc):
            return _window(data, end, place)
        return self._good_part(data, place)

    def find(self, after: Seq) -> Place:
        """A place before which there is no event behind `after`.

        To be believed only if the window from there begins at or before `after`.
        """
        low, high = 0, self._segment.size_bytes
        while high - low > _SEARCH_BYTES:
            middle = (low + high) // 2
            found = self._event_at(middle, high)
            if found is None or found[1] > after:
                high = middle
            else:
                low = found[0]
        return self._sealed_before(low)

    def opening(self) -> Opening:
        """The opening line, verified."""
        data = self._read(0, min(OPENING_BYTES_MAX, self._segment.size_bytes))
        line = data[: data.find(b"\n") + 1]
        crc = stated_crc(line)
        if crc is None or crc32(line[:-END_BYTES]) != crc:
            raise self._corrupt(0, "its opening line cannot be read")
        return parsed_opening(line)

    def _event_at(self, offset: int, high: int) -> tuple[int, int] | None:
        """Where the first event's line behind an offset begins, and its sequence; None when there is none."""
        want = _PEEK_BYTES
        while True:
            data = self._read(offset, min(want, self._segment.size_bytes - offset))
            for start in _line_starts(data):
                if offset + start >= high:
                    return None
                if start + ENVELOPE_SEQ.stop <= len(data) and data[start + 3] == _EVENT_BYTE:
                    return offset + start, _seq_or_zero(data[start : start + ENVELOPE_SEQ.stop])
            if offset + len(data) >= high:
                return None
            want *= 4

    def _sealed_before(self, offset: int) -> Place:
        """The place behind the last sealed line that ends at or before an offset."""
        want = _PEEK_BYTES
        while offset > 0:
            begin = max(0, offset - want)
            data = self._read(begin, offset - begin)
            end = _last_sealed_end(data)
            if end:
                line = data[data.rfind(b"\n", 0, end - 1) + 1 : end]
                crc = crc_behind(line)
                if crc is not None:
                    return Place(begin + end, crc)
            if begin == 0:
                break
            want *= 4
        return BEGIN

    def _good_part(self, data: bytes, place: Place) -> Window:
        """What is good of unverifiable bytes, from their beginning."""
        good, crc = 0, place.crc
        for end in _sealed_ends(data):
            piece = data[good:end]
            if not _seal_holds(piece, len(piece), crc):
                break
            good, crc = end, crc32(piece, crc)
        if not good:
            raise self._corrupt(place.offset, "the bytes of an append are not those that were written")
        return _window(data, good, place)

    def _read(self, offset: int, count: int) -> bytes:
        try:
            data = self._files.read_through(self._fd, count, offset)
        except OSError as fault:
            raise fault_of("read", self._segment.path, fault) from fault
        if len(data) != count:
            raise self._corrupt(offset + len(data), f"the file ends before {offset + count} bytes")
        return data

    def _corrupt(self, offset: int, reason: str) -> StoreCorrupt:
        return StoreCorrupt("read", self._segment.path, f"at offset {offset}: {reason}")


class Survey(NamedTuple):
    """What a whole segment's file holds, as recovery sees it."""

    end: Place
    """Behind its last good append."""
    opening: Opening | None
    """None: its opening line is not good."""
    head: Seq
    events: int
    offsets: StreamOffsets | None
    bad_offset: int | None
    """Where the first bad append before a good one begins."""


def survey(data: bytes) -> Survey:
    """What the bytes of a segment say, however damaged they are."""
    end = _last_sealed_end(data)
    if end and _seal_holds(data, end, 0):
        window = _window(data, end, BEGIN)
        return _surveyed(window.lines, data[:end], window.end, window.opening, None)
    return _damaged(data)


def _damaged(data: bytes) -> Survey:
    """Append by append: each is good if it follows from what the sealed line before it states."""
    good: list[bytes] = []
    text = bytearray()
    end = BEGIN
    opening: Opening | None = None
    bad: int | None = None
    for piece in good_pieces(data):
        window = _window(piece.data, len(piece.data), piece.begin)
        if piece.begin.offset > end.offset and bad is None:
            bad = end.offset
        good += window.lines
        text += piece.data
        opening = opening or window.opening
        end = window.end
    return _surveyed(good, bytes(text), end, opening, bad)


class Piece(NamedTuple):
    """Some bytes that end with a true sealed line, and where they stand."""

    begin: Place
    data: bytes


def good_pieces(data: bytes) -> Iterator[Piece]:
    """What is good of a file of sealed lines, piece by piece; what lies between and behind is not."""
    begin = BEGIN
    for end in _sealed_ends(data):
        piece = data[begin.offset : end]
        if _seal_holds(piece, len(piece), begin.crc):
            yield Piece(begin, piece)
        crc = crc_behind(piece[piece.rfind(b"\n", 0, -1) + 1 :])
        assert crc is not None
        begin = Place(end, crc)


def _surveyed(
    lines: Sequence[bytes], data: bytes, end: Place, opening: Opening | None, bad: int | None
) -> Survey:
    at = max(data.rfind(_OFFSETS_MARK), 0)
    offsets: StreamOffsets | None = None
    if at:
        text = data[at + len(_OFFSETS_MARK) : data.index(b"]", at)]
        offsets = StreamOffsets(*map(int, text.split(b",")))
    elif opening is not None:
        offsets = opening.offsets
    head = envelope_seq(lines[-1]) if lines else BEGINNING
    return Survey(end, opening, head, len(lines), offsets, bad)


def _window(data: bytes, end: int, place: Place) -> Window:
    """The events of verified bytes that begin at a place."""
    lines = data[:end].split(b"\n")
    crc = crc_behind(lines[-2] + b"\n")
    assert crc is not None
    opening = parsed_opening(lines[0]) if place.offset == 0 else None
    lines.pop()  # What follows the last newline: nothing.
    events = [line for line in lines if line[3] == _EVENT_BYTE]
    return Window(events, Place(place.offset + end, crc), opening)


def _seal_holds(data: bytes, end: int, crc: int) -> bool:
    line = data[data.rfind(b"\n", 0, end - 1) + 1 : end]
    stated = stated_crc(line)
    return stated is not None and crc32(memoryview(data)[: end - END_BYTES], crc) == stated


def _last_sealed_end(data: bytes) -> int:
    """Behind the last whole sealed line; 0 when there is none."""
    found = data.rfind(_SEALED_END)
    return found + len(_SEALED_END) if found >= 0 else 0


def _first_sealed_end(data: bytes, known: int) -> int:
    """Behind the first whole sealed line that ends behind what is known; 0 when there is none."""
    found = data.find(_SEALED_END, max(0, known - len(_SEALED_END)))
    return found + len(_SEALED_END) if found >= 0 else 0


def _sealed_ends(data: bytes) -> Iterator[int]:
    """Behind each line that has the form of a sealed one, or where an event's line should begin."""
    end = 0
    while (newline := data.find(b"\n", end)) >= 0:
        if stated_crc(data[end : newline + 1]) is not None:
            yield newline + 1
        end = newline + 1


def _line_starts(data: bytes) -> Iterator[int]:
    newline = data.find(b"\n")
    while newline >= 0:
        yield newline + 1
        newline = data.find(b"\n", newline + 1)


def _seq_or_zero(line: bytes) -> int:
    try:
        return envelope_seq(line)
    except ValueError:
        return 0  # It is corrupt; the verified window will say so.


def missing_between(path: str, after: Seq, opening: Opening) -> StoreMissing:
    """A segment is gone: the one that follows a position says that something lay between."""
    return StoreMissing(
        "read", path, f"the events between {after:016x} and {opening.after:016x} are gone with their file"
    )


def opening_of(files: Files, segment: Segment) -> Opening:
    """What came before a segment; it is read once. Raises StoreCorrupt, StoreMissing, StoreIo."""
    if segment.opening is None:
        with SegmentReader(files, segment) as reader:
            segment.opening = reader.opening()
    return segment.opening
