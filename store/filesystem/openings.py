"""What an opening line must have said that cannot be read any more.

The checksum of what follows it is cumulative, so it proves a guess; and of a
line that was damaged in part, the rest may still be read.
"""

from __future__ import annotations

import os
import re

from watchglass.protocol.cursor import BEGINNING, Seq
from watchglass.store.base import StreamOffsets

from .examining import OPENING_BYTES_MAX, SegmentExam
from .files import Files
from .loading import NO_OFFSETS
from .seal import sealed, stated_crc
from .segment import Opening, opening_line

_OFFSETS = re.compile(rb'"io":\[(\d{1,15}),(\d{1,15}),(\d{1,15})\]')
_EVENTS = re.compile(rb'"events":(\d{1,15}),')
_NOTHING_BEFORE = b'{"after":"0000000000000000","events":0,'


def first_opening(files: Files, segment: SegmentExam) -> Opening:
    """That of the oldest segment: nothing else tells what came before it. Raises OSError."""
    nothing = Opening(BEGINNING, 0, NO_OFFSETS)
    said = _said(files, segment)
    if _is_sealed_as(nothing, segment) or said.startswith(_NOTHING_BEFORE):
        return nothing
    events = _EVENTS.search(said)
    return Opening(Seq(segment.first - 1), int(events[1]) if events else 0, _offsets(said))


def restored_opening(files: Files, segment: SegmentExam, before: Opening) -> tuple[Opening, bool]:
    """That of a later one: it follows from what came `before`. And whether it is proved. Raises OSError."""
    said = _said(files, segment)
    events = _EVENTS.search(said)
    counted = before._replace(events=int(events[1])) if events else before
    for guess in (before, counted, counted._replace(offsets=_offsets(said))):
        if _is_sealed_as(guess, segment):
            return guess, True
    return before, False


def _said(files: Files, segment: SegmentExam) -> bytes:
    """What stands where the opening line should be."""
    fd = files.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return files.read_through(fd, OPENING_BYTES_MAX)
    finally:
        files.close(fd)


def _offsets(said: bytes) -> StreamOffsets:
    match = _OFFSETS.search(said)
    return NO_OFFSETS if match is None else StreamOffsets(int(match[1]), int(match[2]), int(match[3]))


def _is_sealed_as(opening: Opening, segment: SegmentExam) -> bool:
    """Whether an opening line has the sum that what follows it proves."""
    return stated_crc(sealed(opening_line(opening))[0]) == segment.opening_stated
