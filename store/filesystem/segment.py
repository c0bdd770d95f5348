"""A segment: one file of a log, written from its beginning to its end, then only read or dropped.

    events/<sequence of its first event, 16 hex>.jsonl

    {"after":"<16 hex>","events":N,"io":[0,0,0],"crc":"…"}    opening line
    {"cursor":…}                                              events of one append, one a line:
    {"cursor":…}                                              the envelopes that observers receive
    {"crc":"9a8b7c6d"}                                        commit line: the append is whole
    {"cursor":…}
    {"io":[12,3456,0],"crc":"01234567"}                       … and brought offsets

* The opening line says what came before: the log's newest event, how many events
  it ever had, its offsets. It is written when the file is made, before retention
  drops what is older, so none of these is ever lost.
* Opening and commit lines are sealed (`seal.py`), cumulatively from the first
  byte: any stretch between two of them is verified by one calculation.
* What follows the last good commit line is an append that never was.
* An append is never split over two segments.
* An event's line begins with `{"cursor":`, so no event looks like a commit line.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple
from zlib import crc32

import orjson

from watchglass.protocol.cursor import Seq
from watchglass.store.base import Record, StreamOffsets

from .files import FILE_MODE, Files, short_write
from .layout import segment_name
from .seal import KEY, sealed

COMMIT_BYTES_MAX = 96
"""More than any commit or opening line without offsets beyond 64 bits has."""
_COMMIT = b'{"crc":"'
SEGMENT_FILE = re.compile(r"[0-9a-f]{16}\.jsonl\Z")


class Opening(NamedTuple):
    """What a log had before a segment: its newest sequence, how many events ever, its offsets."""

    after: Seq
    events: int
    offsets: StreamOffsets


class Mark(NamedTuple):
    """How many events a log ever had up to a sequence, with it; that never changes."""

    seq: Seq
    events: int


class Place(NamedTuple):
    """A point of a segment behind a sealed line: how far it is, and the checksum's state there."""

    offset: int
    crc: int


BEGIN = Place(0, 0)


class Segment:
    """A segment as its log knows it. `size_bytes` of its file are committed."""

    __slots__ = ("first", "marks", "opening", "path", "size_bytes")

    def __init__(
        self, directory: str, first: Seq, size_bytes: int = 0, opening: Opening | None = None
    ) -> None:
        self.first = first
        self.path = f"{directory}/{segment_name(first)}"
        self.size_bytes = size_bytes
        self.opening = opening
        self.marks: list[Mark] = []
        """Of what was counted in it, in order; see `counting`."""


def opening_line(opening: Opening) -> bytes:
    """The first line of a segment, up to its checksum."""
    after, events, (stdin, stdout, stderr) = opening
    return b'{"after":"%016x","events":%d,"io":[%d,%d,%d],%b' % (after, events, stdin, stdout, stderr, KEY)


def parsed_opening(line: bytes) -> Opening:
    """What an opening line says, which was found to be sealed truly."""
    facts = orjson.loads(line)
    return Opening(Seq(int(facts["after"], 16)), facts["events"], StreamOffsets(*facts["io"]))


def commit_line(offsets: StreamOffsets | None) -> bytes:
    """A commit line, up to its checksum."""
    if offsets is None:
        return _COMMIT
    return b'{"io":[%d,%d,%d],"crc":"' % offsets


class SegmentWriter:
    """The segment that a log writes at present.

    Nothing of a failed write stays: it is cut off at once, or before the next
    write, which fails while that cannot be done.
    """

    __slots__ = (
        "_crc",
        "_files",
        "_pwrite",
        "_spoiled",
        "events",
        "fd",
        "segment",
        "suspect",
        "synced_bytes",
        "syncs",
    )

    def __init__(self, files: Files, segment: Segment, place: Place = BEGIN, events: int = 0) -> None:
        self._files = files
        self._pwrite = files.pwrite
        self._crc = place.crc
        self._spoiled = False
        self.segment = segment
        self.events = events  # In this segment.
        self.fd = -1
        self.synced_bytes = 0
        self.suspect = False  # A sync failed: the disk may lack what the system now takes for written.
        self.syncs = 0  # How many threads sync it now; its file must stay open.

    def write(self, records: Sequence[Record], offsets: StreamOffsets | None) -> None:
        """Write one append. Raises OSError; `take_back` must follow then."""
        if self._spoiled or self.fd < 0:
            self.prepare()
        mark = _COMMIT if offsets is None else commit_line(offsets)
        if len(records) == 1:
            body = records[0][1] + b"\n" + mark
        else:
            body = b"\n".join([*[line for _, line in records], mark])
        crc = crc32(body, self._crc)
        end = b'%08x"}\n' % crc
        body += end
        segment = self.segment
        written = self._pwrite(self.fd, body, segment.size_bytes)
        if written != len(body):
            raise short_write(written, len(body))
        self._crc = crc32(end, crc)
        segment.size_bytes += written
        self.events += len(records)

    def take_back(self) -> None:
        """After a write that failed: cut off what it left, if that is possible now."""
        self._spoiled = True
        with suppress(OSError):  # It stays spoiled.
            self.prepare()

    def is_there(self) -> bool:
        """Whether the file is still there under its name; somebody may have removed it."""
        return self._files.access(self.segment.path, os.F_OK)  # Half the price of a stat.

    def repeat_unsynced(self) -> None:
        """Write again what a failed sync may have lost of what the system holds in memory. Raises OSError."""
        assert self.fd >= 0, "what is not synced is kept open"
        count = self.segment.size_bytes - self.synced_bytes
        data = self._files.read_through(self.fd, count, self.synced_bytes)
        self._files.write_at(self.fd, data, self.synced_bytes)
        self.suspect = False

    def rest(self) -> None:
        """Close the file until the next write, unless it is being synced."""
        if self.fd >= 0 and not self.syncs:
            self._files.close(self.fd)
            self.fd = -1

    def prepare(self) -> None:
        """Open the file, with its opening line, and cut off what no append left. Raises OSError."""
        segment = self.segment
        if self.fd < 0:
            create = os.O_CREAT if segment.size_bytes == 0 else 0
            self.fd = self._files.open(segment.path, os.O_RDWR | os.O_CLOEXEC | create, FILE_MODE)
        if segment.size_bytes == 0:
            assert segment.opening is not None
            opening, crc = sealed(opening_line(segment.opening))
            self._spoiled = True  # Somebody may have left a file of this name.
            self._files.write_at(self.fd, opening, 0)
            self._crc = crc
            segment.size_bytes = len(opening)
        if self._spoiled:
            self._files.truncate(self.fd, segment.size_bytes)
            self._spoiled = False
