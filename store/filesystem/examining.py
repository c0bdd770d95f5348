"""Looks at one segment as a whole: what is good in it, what is not, and where.

An append is good when its sum holds and its lines are what a reader of this log
expects: envelopes of this worker, behind everything that came before.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from watchglass.protocol.cursor import BEGINNING, Seq, encode_cursor
from watchglass.store.base import StreamOffsets

from .files import Files
from .layout import segment_name
from .scanning import Stretch, scan
from .segment import Opening, parsed_opening

OPENING_BYTES_MAX = 200
"""More than an opening line has, and less than one with an append behind it."""
_COMMIT_STARTS = (b'{"crc":"', b'{"io":[')


class Beginning(NamedTuple):
    """A good opening line."""

    opening: Opening
    is_mended: bool


class Append(NamedTuple):
    """A good one: its envelopes, and the offsets that came with it."""

    begin: int
    lines: Sequence[bytes]
    first: Seq
    last: Seq
    offsets: StreamOffsets | None
    is_mended: bool


class Spoiled(NamedTuple):
    """Bytes that are no good append."""

    begin: int
    end: int
    reason: str
    is_torn: bool = False
    is_foreign: bool = False
    """As it was written, and not for this place."""
    stated: int | None = None


Part = Beginning | Append | Spoiled


def parts(files: Files, path: str, name: str, after: Seq) -> Iterator[Part]:
    """A segment of the log that envelopes call `name`, whose newest event before is `after`.

    Raises OSError.
    """
    for stretch in scan(files, path):
        part = _part(stretch, name, after)
        if isinstance(part, Append):
            after = part.last
        yield part


def _part(stretch: Stretch, name: str, after: Seq) -> Part:
    begin, end, lines, is_mended, is_torn, stated = stretch
    if not stretch.is_good:
        reason = "are no whole append" if is_torn else "are not those that were written"
        return Spoiled(begin, end, reason, is_torn=is_torn, stated=stated)
    if begin == 0:
        opening = _opening(lines)
        if opening is None:
            return Spoiled(begin, end, "are no opening line")
        return Beginning(opening, is_mended)
    *events, commit = lines
    fault = None if events and commit.startswith(_COMMIT_STARTS) else "are no append"
    seqs: list[Seq] = []
    for line in events if fault is None else ():
        seq = _seq_of(line, name)
        if isinstance(seq, str):
            fault = seq
            break
        if seq <= (seqs[-1] if seqs else after):
            fault = "are events that stand before it already, or should"
            break
        seqs.append(seq)
    if fault is not None:
        return Spoiled(begin, end, fault, is_foreign=True)
    return Append(begin, events, seqs[0], seqs[-1], _offsets(commit), is_mended)


def _opening(lines: Sequence[bytes]) -> Opening | None:
    try:
        return parsed_opening(lines[0] + b"\n") if len(lines) == 1 else None
    except (ValueError, KeyError, TypeError):
        return None


def _offsets(commit: bytes) -> StreamOffsets | None:
    if commit.startswith(_COMMIT_STARTS[0]):
        return None
    return StreamOffsets(*orjson.loads(commit)["io"])


def _seq_of(line: bytes, name: str) -> Seq | str:
    """The sequence of an envelope of this log, or what the line is instead."""
    try:
        envelope: Any = orjson.loads(line)
        seq = Seq(int(envelope["cursor"][3:], 16))
        whose, is_itself = envelope["worker_id"], envelope["event_id"] == encode_cursor(seq)
        is_said = isinstance(envelope["payload"]["event"], str) and isinstance(
            envelope["payload"]["data"], dict
        )
    except (ValueError, KeyError, TypeError):
        return "are no event"
    if whose != name:
        return "are events of somebody else"
    return seq if is_itself and is_said else "are no event"


class Bad(NamedTuple):
    """A stretch without a good append, between two good events of the log (0: of this segment, none)."""

    begin: int
    end: int
    before: Seq
    after: Seq
    reason: str
    is_torn: bool
    is_foreign: bool


@dataclass(slots=True)
class SegmentExam:
    """What is known of a segment after reading it once."""

    path: str
    first: Seq
    """As its name says."""
    after: Seq
    """The newest good event before it."""
    size_bytes: int
    opening: Opening | None = None
    opening_stated: int | None = None
    """What a damaged opening line states as its sum, if what follows proves that."""
    oldest: Seq = BEGINNING
    head: Seq = BEGINNING
    events: int = 0
    offsets: StreamOffsets | None = None
    bads: list[Bad] = field(default_factory=list)
    mended: list[int] = field(default_factory=list)
    """Where appends begin that are good but for the end of their commit line."""

    @property
    def is_foreign(self) -> bool:
        """Whether all of it is as it was written, and nothing of it belongs here."""
        return not self.oldest and bool(self.bads) and all(bad.is_foreign for bad in self.bads)

    @property
    def tail(self) -> Bad | None:
        """The bad stretch at its end, if it has one."""
        return self.bads[-1] if self.bads and self.bads[-1].end == self.size_bytes else None


def seems_to_begin_with(files: Files, path: str, first: Seq) -> bool:
    """Whether a segment's file has this event first, or none, at a glance. Raises OSError."""
    fd = files.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = files.read_through(fd, 2 * OPENING_BYTES_MAX)
    finally:
        files.close(fd)
    behind = data[data.find(b"\n") + 1 :]
    return not behind or behind.startswith(b'{"cursor":"wo_%016x"' % first)


def first_event(files: Files, path: str, name: str) -> Seq | None:
    """The first event of a segment's file, if its first append is good. Raises OSError."""
    for part in parts(files, path, name, BEGINNING):
        if not isinstance(part, Beginning):
            return part.first if isinstance(part, Append) else None
    return None


def examine_segment(files: Files, directory: str, first: Seq, name: str, after: Seq) -> SegmentExam:
    """Read a segment whole; `first` is what its file is called. Raises OSError."""
    path = f"{directory}/{segment_name(first)}"
    exam = SegmentExam(path, first, after, size_bytes=0)
    newest = after
    for part in parts(files, path, name, after):
        if isinstance(part, Beginning):
            exam.opening = part.opening
            exam.mended += [0] if part.is_mended else []
        elif isinstance(part, Append):
            if exam.bads and not exam.bads[-1].after:
                exam.bads[-1] = exam.bads[-1]._replace(after=part.first)
            exam.oldest = exam.oldest or part.first
            exam.head = newest = part.last
            exam.events += len(part.lines)
            exam.offsets = part.offsets if part.offsets is not None else exam.offsets
            if part.is_mended:
                exam.mended.append(part.begin)
        else:
            _take_spoiled(exam, part, newest)
    exam.size_bytes = files.stat(path).st_size
    if exam.opening is not None and exam.opening.after >= (exam.oldest or first):
        exam.opening = None  # It is of another place.
    return exam


def _take_spoiled(exam: SegmentExam, part: Spoiled, newest: Seq) -> None:
    begin, end, reason, is_torn, is_foreign, stated = part
    if begin == 0:
        exam.opening_stated = stated
        if end <= OPENING_BYTES_MAX and not is_torn:
            return  # The opening line alone: no event was in it.
    last = exam.bads[-1] if exam.bads else None
    if last is not None and last.end == begin:
        exam.bads[-1] = last._replace(
            end=end, is_torn=last.is_torn and is_torn, is_foreign=last.is_foreign and is_foreign
        )
    else:
        exam.bads.append(Bad(begin, end, newest, BEGINNING, reason, is_torn, is_foreign))
