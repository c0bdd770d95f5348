"""Which bytes of a log were asked for (RFC 9110, section 14), as plain numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass

from watchglass.protocol.errors import RangeNotSatisfiable

_ONE_RANGE = re.compile(r"bytes=(?:(?P<first>[0-9]{1,18})-(?P<last>[0-9]{0,18})|-(?P<suffix>[0-9]{1,18}))\Z")


@dataclass(frozen=True, slots=True)
class Span:
    """`length` bytes from `start` on, of a log that has `size_bytes`. `partial` answers a Range header."""

    start: int
    length: int
    size_bytes: int
    partial: bool

    @property
    def content_range(self) -> str:
        """The header of this name."""
        if not self.length:
            return f"bytes */{self.size_bytes}"
        return f"bytes {self.start}-{self.start + self.length - 1}/{self.size_bytes}"


def span(size_bytes: int, *, offset: int, limit: int | None, range_header: str | None) -> Span:
    """What to answer.

    A Range header goes before `offset` and `limit`. One that is malformed or
    names several ranges is ignored, as the RFC wants. An `offset` at the end is
    no error: whoever follows a log asks for what is not there yet.

    Raises:
        RangeNotSatisfiable: The start lies behind the end.
    """
    asked = None if range_header is None else _ONE_RANGE.match(range_header.strip().lower())
    if asked is not None:
        return _ranged(size_bytes, asked)
    if offset > size_bytes:
        raise RangeNotSatisfiable(f"offset {offset}", size_bytes)
    length = size_bytes - offset
    return Span(offset, length if limit is None else min(limit, length), size_bytes, partial=False)


def _ranged(size_bytes: int, asked: re.Match[str]) -> Span:
    if asked["suffix"] is not None:
        start, end = max(0, size_bytes - int(asked["suffix"])), size_bytes
    else:
        start = int(asked["first"])
        end = min(int(asked["last"]) + 1, size_bytes) if asked["last"] else size_bytes
        if asked["last"] and int(asked["last"]) < start:
            return Span(0, size_bytes, size_bytes, partial=False)  # Invalid, so it is ignored.
    if start >= end:
        raise RangeNotSatisfiable(f"range {asked[0]}", size_bytes)
    return Span(start, end - start, size_bytes, partial=True)
