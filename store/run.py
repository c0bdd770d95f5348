"""A run: some of a log's events, one behind the other, as a read gives them.

It is no more than their lines. What else somebody wants of it is made when it
is asked for: a sequence from the place in a line where its cursor stands, a
record from both, a connection's frames from all lines at once. So who passes
events on pays for no record, and who needs one event pays for one.
"""

from __future__ import annotations

from binascii import unhexlify
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, repeat
from operator import itemgetter
from struct import unpack
from typing import NamedTuple, cast, overload

from watchglass.protocol.cursor import Seq
from watchglass.protocol.feed_v2 import cursor_of, events_text
from watchglass.protocol.frames import ENVELOPE_SEQ, envelope_seq
from watchglass.protocol.ready_frames import ready_frames, text_frame


class Record(NamedTuple):
    """One event, numbered and encoded: `line` is its envelope without a newline."""

    seq: Seq
    line: bytes


_make = cast("Callable[[type[Record], tuple[int, bytes]], Record]", tuple.__new__)  # Without a frame.
_digits = itemgetter(ENVELOPE_SEQ)


class Run(Sequence[Record]):
    """Records in order, made as they are asked for; it equals any list of the same. It never changes."""

    __slots__ = ("_cursor", "_events_frame", "_frames", "lines")
    __hash__ = None  # type: ignore[assignment]  # As of a list.

    def __init__(self, lines: Sequence[bytes]) -> None:
        """Events by their envelopes, which nobody changes from now on."""
        self.lines = lines
        self._cursor: bytes | None = None
        self._frames: bytes | None = None
        self._events_frame: tuple[bytes, bytes] | None = None

    @property
    def last(self) -> Seq:
        """Sequence of the last event: the position from which a reader goes on. Raises IndexError of none."""
        return envelope_seq(self.lines[-1])

    @property
    def cursor(self) -> bytes:
        """Cursor of the last event, looked up once. Raises IndexError of none."""
        if self._cursor is None:
            self._cursor = cursor_of(self.lines[-1])
        return self._cursor

    def frames(self) -> bytes:
        """All events as the frames of a connection, made once; see `ready_frames`."""
        if self._frames is None:
            self._frames = ready_frames(self.lines)
        return self._frames

    def events_frame(self, prev: bytes) -> bytes:
        """All events as one live frame of version 2, made once for all who were sent `prev` before."""
        made = self._events_frame
        if made is not None and made[0] == prev:
            return made[1]
        frame = text_frame(events_text(prev, self.lines, replay=False))
        if made is None:
            self._events_frame = prev, frame
        return frame

    def __len__(self) -> int:
        return len(self.lines)

    def __iter__(self) -> Iterator[Record]:
        lines = self.lines
        seqs = unpack(f">{len(lines)}Q", unhexlify(b"".join(map(_digits, lines))))
        return map(_make, repeat(Record), zip(seqs, lines, strict=True))

    @overload
    def __getitem__(self, place: int) -> Record: ...
    @overload
    def __getitem__(self, place: slice) -> Run: ...
    def __getitem__(self, place: int | slice) -> Record | Run:
        if isinstance(place, slice):
            return Run(self.lines[place])
        line = self.lines[place]
        return Record(envelope_seq(line), line)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Run):
            return list(self.lines) == list(other.lines)
        return list(self) == list(other) if isinstance(other, list | tuple) else NotImplemented

    def __repr__(self) -> str:
        return f"Run({self.lines!r})"


def first_after(lines: Sequence[bytes], after: Seq) -> int:
    """The place of the first line behind a position."""
    return bisect_right(lines, after, key=envelope_seq)


def count_within(lines: Sequence[bytes], max_bytes: int) -> int:
    """How many of the first lines have so many bytes together, at most."""
    return bisect_right(list(accumulate(map(len, lines))), max_bytes)
