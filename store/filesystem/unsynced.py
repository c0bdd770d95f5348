"""What of one log is written and not known to be on the disk: bytes of segments, names in directories."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from .files import Files
from .segment import Segment, SegmentWriter

if TYPE_CHECKING:
    from .log import FileLog


class LogSync(NamedTuple):
    """What of one log is to be brought to the disk, in a thread."""

    log: FileLog
    writers: Sequence[tuple[SegmentWriter, int, int]]
    """With the open file, and how much of it counts when the sync is over."""
    directories: Sequence[str]
    fault: OSError | None = None
    """Why it cannot even begin."""
    is_gone: bool = False
    """Somebody removed a file of it."""

    def run(self, files: Files, sync_directory: Callable[[str], None]) -> None:
        """In a thread: raises OSError."""
        if self.fault is not None:
            raise self.fault
        for _writer, fd, _size in self.writers:
            files.fdatasync(fd)
        for directory in self.directories:
            with suppress(FileNotFoundError):  # Somebody removed this worker; its next append says so.
                sync_directory(directory)


class Unsynced:
    """One log's. `loose`: segments hold what is synced nowhere, not in the write-ahead file either."""

    __slots__ = ("directories", "loose", "rolled")

    def __init__(self) -> None:
        self.rolled: list[SegmentWriter] = []
        """Full segments that are not yet synced."""
        self.loose = False
        """Whether segments hold what is synced nowhere: neither in them nor in the write-ahead file."""
        self.directories: set[str] = set()
        """Where names are new."""

    def begin(self, log: FileLog, present: SegmentWriter | None) -> LogSync:
        """What a thread must bring to the disk now; `end` takes it back. `present`: the newest segment."""
        writers: list[tuple[SegmentWriter, int, int]] = []
        fault: OSError | None = None
        is_gone = False
        for writer in self.rolled if present is None else (*self.rolled, present):
            if writer.synced_bytes < writer.segment.size_bytes:
                try:
                    writer.prepare()
                    if writer.suspect:
                        writer.repeat_unsynced()
                except FileNotFoundError:
                    is_gone = True
                    continue
                except OSError as refused:
                    fault = refused
                writer.syncs += 1
                writers.append((writer, writer.fd, writer.segment.size_bytes))
        directories = sorted(self.directories)
        self.directories.clear()
        self.loose = False
        return LogSync(log, writers, directories, fault, is_gone)

    def end(self, sync: LogSync, fault: OSError | None, present: SegmentWriter | None) -> None:
        """Take what came of it; after a fault, all of it is to be tried again."""
        for writer, _fd, size_bytes in sync.writers:
            writer.syncs -= 1
            if fault is not None:
                writer.suspect = True
            else:
                writer.synced_bytes = max(writer.synced_bytes, size_bytes)
                if writer in self.rolled and writer.synced_bytes == writer.segment.size_bytes:
                    self.rolled.remove(writer)
            if writer is not present and writer not in self.rolled:
                writer.rest()
        if fault is not None:
            self.directories.update(sync.directories)
            self.loose = True

    def forget(self, segment: Segment) -> None:
        """A segment was dropped: nobody needs it on the disk."""
        for writer in [writer for writer in self.rolled if writer.segment is segment]:
            self.rolled.remove(writer)
            writer.rest()

    def rest(self) -> None:
        """Let the files of full segments be, synced or not."""
        for writer in self.rolled:
            writer.rest()
        self.rolled = []
