"""Where in a worker's log a reader begins; and what is lost when it cannot."""

from __future__ import annotations

from typing import Final

from watchglass.protocol.cursor import BEGINNING, Seq, encode_cursor
from watchglass.protocol.errors import CursorExpired, CursorMalformed, CursorUnknown, LossReason
from watchglass.protocol.start import After, Earliest, Latest, NoPlace, Since, Start, Tail
from watchglass.store.base import ReadableLog

CLOCKS_APART_US: Final = 60_000_000
"""How far a reader's clock may be ahead of ours, for `time:`."""


async def find_place(
    log: ReadableLog, start: Start, requested: str, now_us: int, whose: str = "this worker"
) -> Seq | None:
    """The position that is asked for; None means the head at the moment of the join.

    `whose` log it is, in the words of a fault.

    Raises:
        CursorMalformed: It names no place.
        CursorUnknown: It lies ahead, is no event of this log, or something behind it was dropped.
        StoreIo, StoreMissing, StoreCorrupt: The log cannot be read.
    """
    if isinstance(start, Latest):
        return None
    if isinstance(start, Earliest):
        return log.trimmed_through
    if isinstance(start, NoPlace):
        raise CursorMalformed(start.text).beside(encode_cursor(log.oldest), encode_cursor(log.head))
    try:
        if isinstance(start, Tail):
            return await log.before_newest(start.events)
        if isinstance(start, Since):
            return await _before_time(log, start.time_us, requested, now_us, whose)
        return await _checked(log, start, requested, whose)
    except CursorExpired:  # Retention came by while we looked.
        raise _unknown(log, "retention", _DROPPED + whose, requested) from None


async def _checked(log: ReadableLog, start: After, requested: str, whose: str) -> Seq:
    if start.seq == log.trimmed_through or await log.holds(start.seq):
        return start.seq
    loss, reason = _why_unknown(log, start.seq, whose)
    raise _unknown(log, loss, reason, requested)


async def _before_time(log: ReadableLog, time_us: int, requested: str, now_us: int, whose: str) -> Seq:
    """The newest event before a time; a sequence is never before its time."""
    if time_us > max(now_us + CLOCKS_APART_US, log.head):
        raise _unknown(log, "ahead", "lies in the future", requested)
    if BEGINNING < log.trimmed_through >= time_us:
        raise _unknown(log, "retention", _DROPPED + whose, requested)
    low, high = log.trimmed_through, min(time_us - 1, log.head)
    if high == log.head:
        return log.head
    while low < high:  # Every event up to `high` lies in (low, high], but for `low` itself.
        middle = (low + high) // 2
        found = await log.read(after=Seq(middle), max_records=1)
        if found and found.last <= high:
            low = found.last
        else:
            high = middle
    return Seq(low)


_DROPPED = "is older than what retention keeps of "


def _why_unknown(log: ReadableLog, seq: Seq, whose: str) -> tuple[LossReason, str]:
    if seq > log.head:
        return "ahead", f"lies ahead of {whose}'s newest event"
    if seq < log.oldest and log.trimmed_through > BEGINNING:
        return "retention", _DROPPED + whose
    return "generation", f"is no event of {whose}"


def _unknown(log: ReadableLog, loss: LossReason, reason: str, requested: str) -> CursorUnknown:
    fault = CursorUnknown(reason, requested, encode_cursor(log.oldest), encode_cursor(log.head))
    fault.loss = loss
    return fault
