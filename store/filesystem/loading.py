"""Finds out what a log's files say: its segments, its head, where the next append goes.

What a kill or a loss of power left behind the last whole append is cut off and
moved to `broken/`, never just dropped. A bad append that good ones follow stays
where it is: readers that come to it are told, and appends go on in a new segment.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from watchglass.protocol.cursor import BEGINNING, Seq
from watchglass.protocol.errors import StoreCorrupt
from watchglass.protocol.identity import WorkerId
from watchglass.store.base import Finding, StreamOffsets

from .files import FILE_MODE, Files, fault_of
from .reading import OPENING_BYTES_MAX, Survey, opening_of, survey
from .segment import SEGMENT_FILE, Opening, Segment, SegmentWriter

NO_OFFSETS = StreamOffsets()


@dataclass(slots=True)
class LogState:
    """All that a log must know to go on."""

    segments: list[Segment] = field(default_factory=list)
    writer: SegmentWriter | None = None
    head: Seq = BEGINNING
    trimmed_through: Seq = BEGINNING
    offsets: StreamOffsets = NO_OFFSETS
    events: int = 0
    """How many the log ever had."""
    events_dropped: int = 0
    """How many of them retention dropped."""


class LogFacts(NamedTuple):
    """What is known of a complete log without opening it."""

    head: Seq
    oldest: Seq
    trimmed_through: Seq
    offsets: StreamOffsets


class Salvage:
    """Where broken bytes go: one folder for each time that something was found, made when needed."""

    def __init__(self, files: Files, base: str, directory: str, tell: Callable[[Finding], None]) -> None:
        self._files = files
        self._base = base
        self._directory = directory
        self.tell = tell

    def keep(self, path: str, offset: int, data: bytes) -> str:
        """Keep bytes that are about to be cut off a file. Raises OSError."""
        target = f"{self._place_for(path)}.from-{offset}"
        fd = self._files.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE)
        try:
            self._files.write_at(fd, data, 0)
            self._files.fdatasync(fd)
        finally:
            self._files.close(fd)
        return target

    def move(self, path: str) -> str:
        """Take a whole file away. Raises OSError."""
        target = self._place_for(path)
        self._files.rename(path, target)
        return target

    def _place_for(self, path: str) -> str:
        inside = os.path.relpath(path, self._base)
        made = self._base
        parts = [*os.path.relpath(self._directory, self._base).split("/"), *inside.split("/")[:-1]]
        for part in parts:
            made = f"{made}/{part}"
            self._files.make_directory(made)
        return f"{made}/{path.rpartition('/')[2]}"


def load_log(files: Files, directory: str, worker_id: WorkerId | None, salvage: Salvage) -> LogState:
    """What the segments in a directory say; torn bytes are cut.

    Raises:
        StoreMissing: The directory is gone.
        StoreIo: Something of it cannot be read, or cannot be cut.
    """
    try:
        segments = _segments(files, directory)
        return _Loading(files, segments, worker_id, salvage).state()
    except OSError as fault:
        raise fault_of("read", str(fault.filename or directory), fault) from fault


def _segments(files: Files, directory: str) -> list[Segment]:
    names = sorted(name for name in files.listdir(directory) if SEGMENT_FILE.match(name))
    segments = [Segment(directory, Seq(int(name[:16], 16))) for name in names]
    for segment in segments:
        segment.size_bytes = files.stat(segment.path).st_size
    newest = segments[-1:]
    return [segment for segment in segments if segment in newest or not _is_for_nothing(files, segment)]


def _is_for_nothing(files: Files, segment: Segment) -> bool:
    """Whether a segment was made for an append that never was; then its file goes."""
    if segment.size_bytes > OPENING_BYTES_MAX:
        return False
    data = files.read_whole(segment.path)
    seen = survey(data)
    if seen.events or seen.end.offset < len(data):
        return False
    files.unlink(segment.path)
    return True


class _Loading:
    def __init__(
        self, files: Files, segments: list[Segment], worker_id: WorkerId | None, salvage: Salvage
    ) -> None:
        self._files = files
        self._segments = segments
        self._worker_id = worker_id
        self._salvage = salvage

    def state(self) -> LogState:
        seen = self._newest()
        if seen is None:
            return LogState()
        if seen.events == 0:
            return self._begun(seen)
        last = self._segments[-1]
        last.opening = seen.opening
        writer: SegmentWriter | None = None
        if seen.bad_offset is None:
            writer = SegmentWriter(self._files, last, seen.end, seen.events)
        before = seen.opening.events if seen.opening else 0
        first = self._first_opening()
        return LogState(
            segments=self._segments,
            writer=writer,
            head=seen.head,
            trimmed_through=first.after if first else BEGINNING,
            offsets=seen.offsets or NO_OFFSETS,
            events=before + seen.events,
            events_dropped=first.events if first else 0,
        )

    def _begun(self, seen: Survey) -> LogState:
        """All events were dropped but those that only a write-ahead file has; the opening line tells of them.

        Its file stays until the next segment is made, which says the same.
        """
        assert seen.opening is not None
        after, events, offsets = seen.opening
        return LogState(
            head=after, trimmed_through=after, offsets=offsets, events=events, events_dropped=events
        )

    def _newest(self) -> Survey | None:
        """The newest segment that has an event; what is newer and has none is put away."""
        while self._segments:
            segment = self._segments[-1]
            data = self._files.read_whole(segment.path)
            seen = survey(data)
            if seen.events and seen.bad_offset is not None:
                self._tell("error", "corrupt", segment.path, seen.bad_offset, "cannot be read back")
            if seen.opening is not None or seen.events:
                self._cut(segment, seen, data)
            if seen.events or (seen.opening is not None and len(self._segments) == 1):
                return seen
            self._segments.pop()
            if seen.opening is not None or not data:
                self._files.unlink(segment.path)
            else:
                moved = self._salvage.move(segment.path)
                self._tell("warning", "torn_tail", segment.path, 0, f"was never whole and is in {moved}")
        return None

    def _cut(self, segment: Segment, seen: Survey, data: bytes) -> None:
        """Take off what is no whole append."""
        end = seen.end.offset
        if end < len(data):
            kept = self._salvage.keep(segment.path, end, data[end:])
            fd = self._files.open(segment.path, os.O_RDWR | os.O_CLOEXEC)
            try:
                self._files.truncate(fd, end)
                self._files.fdatasync(fd)
            finally:
                self._files.close(fd)
            what = f"was no whole append: {len(data) - end} bytes were cut and are in {kept}"
            self._tell("warning", "torn_tail", segment.path, end, what)
        segment.size_bytes = end

    def _first_opening(self) -> Opening | None:
        first = self._segments[0]
        try:
            return opening_of(self._files, first)
        except StoreCorrupt:
            self._tell("error", "corrupt", first.path, 0, "cannot be read back")
            return None

    def _tell(
        self, severity: Literal["warning", "error"], code: str, path: str, offset: int, what: str
    ) -> None:
        message = f"{path}: what follows offset {offset} {what}"
        self._salvage.tell(Finding(severity, code, message, self._worker_id))
