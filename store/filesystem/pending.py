"""Durable appends of one log that stand in the write-ahead file and are visible, but not yet in a segment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from watchglass.protocol.cursor import Seq
from watchglass.store.base import Record, StreamOffsets


class PendingAppend(NamedTuple):
    """One of them; `size_bytes` is what it adds to a segment at most."""

    records: Sequence[Record]
    offsets: StreamOffsets | None
    size_bytes: int


class Pending:
    """In the order of the log. `size_bytes` and `events` are those of all together."""

    __slots__ = ("appends", "events", "size_bytes")

    def __init__(self) -> None:
        self.appends: list[PendingAppend] = []
        self.size_bytes = 0
        self.events = 0

    def add(self, records: Sequence[Record], offsets: StreamOffsets | None, size_bytes: int) -> None:
        """Take one more, behind the others."""
        self.appends.append(PendingAppend(records, offsets, size_bytes))
        self.size_bytes += size_bytes
        self.events += len(records)

    def drop(self, count: int) -> None:
        """Let go of the first so many: they are in a segment."""
        if count >= len(self.appends):
            self.clear()
            return
        self.size_bytes -= sum([each.size_bytes for each in self.appends[:count]])
        self.events -= sum([len(each.records) for each in self.appends[:count]])
        del self.appends[:count]

    def clear(self) -> None:
        """Let go of all."""
        self.appends.clear()
        self.size_bytes = self.events = 0

    def lines_after(self, position: Seq) -> Iterator[bytes]:
        """What readers of a position find here."""
        return (line for each in self.appends for seq, line in each.records if seq > position)
