"""Where a reader stands: the sequence of the last event it has.

Sequences are 64-bit, runtime-wide and strictly growing; a cursor is `wo_` and
the sequence as 16 lower-case hex digits (worker runtime contract, "Observation
feed"), so cursors sort as text as they do as numbers. Sequence 0 is before
every event.
"""

from __future__ import annotations

import re
from typing import Final, NewType

from .errors import CursorMalformed

Seq = NewType("Seq", int)

BEGINNING: Final = Seq(0)
SEQ_MAX: Final = (1 << 64) - 1
_CURSOR = re.compile(r"wo_([0-9a-f]{16})\Z")


def encode_cursor(seq: int) -> str:
    """The cursor of the event with this sequence."""
    return f"wo_{seq:016x}"


def decode_cursor(text: str) -> Seq:
    """The sequence that a cursor names.

    Raises:
        CursorMalformed: Not `wo_` and 16 lower-case hex digits.
    """
    match = _CURSOR.match(text)
    if match is None:
        raise CursorMalformed(text)
    return Seq(int(match[1], 16))


def next_seq(previous: int, now_us: int) -> Seq:
    """The sequence after `previous`: it grows even when the clock does not."""
    return Seq(now_us if now_us > previous else previous + 1)  # Not max(): this runs once an event.
