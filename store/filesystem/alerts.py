"""Where the alerts of a damaged log belong: in the holes that its lost events left."""

from __future__ import annotations

from typing import NamedTuple

from watchglass.protocol.cursor import BEGINNING, Seq

from .examining import Bad, SegmentExam
from .fixing import Alert
from .loading import LogFacts
from .segment import Opening


class Elsewhere(NamedTuple):
    """What is known of a log from elsewhere."""

    complete: LogFacts | None = None
    """What `worker.json` keeps of a complete log."""
    promised: Seq = BEGINNING
    """The first event that a write-ahead file will bring behind the log's head; 0: none."""
    is_live: bool = False
    """Somebody writes it now: what is at its end may be under way."""


def seq_between(before: Seq, after: Seq, wanted: Seq = BEGINNING) -> Seq | None:
    """A sequence for an alert between two events (`after` 0: nothing follows); None when there is no room."""
    seq = wanted if wanted > before and (not after or wanted < after) else Seq(before + 1)
    return seq if not after or seq < after else None


def alerts_for(
    segment: SegmentExam, opening: Opening, following: SegmentExam | None, known: Elsewhere
) -> dict[int, Alert]:
    """The alerts of a segment, by where the bad bytes begin that they stand for."""
    alerts: dict[int, Alert] = {}
    for bad in segment.bads:
        before = Seq(max(bad.before, opening.after))
        if bad is not segment.tail:
            wanted = segment.first if bad.before <= opening.after else BEGINNING
            alert = _alert_at(seq_between(before, bad.after, wanted), bad)
        elif following is not None:
            alert = _alert_before(following, before, segment, bad)
        else:
            alert = _alert_at_the_end(before, segment, bad, known)
        if alert is not None:
            alerts[bad.begin] = alert
    last = max(alerts, default=None)
    if last is not None and following is not None and following.opening is not None:
        offsets = segment.offsets if segment.offsets is not None else opening.offsets
        if offsets != following.opening.offsets:  # The lost append brought them.
            alerts[last] = alerts[last]._replace(offsets=following.opening.offsets)
    return alerts


def _alert_at(seq: Seq | None, bad: Bad) -> Alert | None:
    return None if seq is None else Alert(seq, None, bad)


def _alert_before(following: SegmentExam, before: Seq, segment: SegmentExam, bad: Bad) -> Alert | None:
    """For the end of a segment that another one follows, which may say what came before it."""
    opening = following.opening
    if opening is None:
        return _alert_at(seq_between(before, following.first, _wanted_first(segment)), bad)
    return Alert(opening.after, opening.offsets, bad) if opening.after > before else None


def _alert_at_the_end(before: Seq, segment: SegmentExam, bad: Bad, known: Elsewhere) -> Alert | None:
    """For the end of the log: what is torn there was seen by nobody, unless the log was complete."""
    complete = known.complete
    if known.promised:
        return None if bad.is_torn else _alert_at(seq_between(before, known.promised), bad)
    if complete is not None and complete.head > before:
        return Alert(complete.head, complete.offsets, bad)
    if bad.is_torn:
        return None
    return _alert_at(seq_between(before, BEGINNING, _wanted_first(segment)), bad)


def _wanted_first(segment: SegmentExam) -> Seq:
    """A segment is named after its first event; without a good one, the alert is that."""
    return BEGINNING if segment.oldest else segment.first
