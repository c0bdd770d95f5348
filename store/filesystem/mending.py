"""Decides how a damaged log becomes one that reads from its beginning to its end, and does it.

What is good stays, byte for byte. In the place of what is not stands an
*alert*: an event of its own that tells every reader who passes how much was
unreadable and where it is now. Its sequence lies in the hole, and where a
segment follows, it is the one that the segment's opening line says came before.

    [ a b ? ? ][ after=d  e f ]    ->    [ a b !d ][ after=d  e f ]
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

from watchglass.protocol.cursor import BEGINNING, Seq, encode_cursor
from watchglass.protocol.identity import WorkerId
from watchglass.store.base import StreamOffsets

from .examining import OPENING_BYTES_MAX, Bad, SegmentExam
from .files import Files
from .fixing import Alert, insert_segment, move, rewrite_segment
from .layout import segment_name
from .loading import NO_OFFSETS, LogFacts
from .problems import Exam, Fix, Problem
from .seal import sealed, stated_crc
from .segment import Opening, opening_line

_SAID_OFFSETS = re.compile(rb'"io":\[(\d{1,15}),(\d{1,15}),(\d{1,15})\]')
_SAID_EVENTS = re.compile(rb'"events":(\d{1,15}),')
_NOTHING_BEFORE = b'{"after":"0000000000000000","events":0,'


class LogName(NamedTuple):
    """Whose log it is, for problems and for envelopes."""

    worker_id: WorkerId | None

    @property
    def said(self) -> str:
        """What envelopes say."""
        return "runtime" if self.worker_id is None else self.worker_id

    @property
    def shown(self) -> str:
        """What people say."""
        return "the runtime's own log" if self.worker_id is None else f"worker {self.worker_id}"


class Bounds(NamedTuple):
    """What is known of a log from elsewhere."""

    complete: LogFacts | None = None
    """What `worker.json` keeps of a complete log."""
    promised: Seq = BEGINNING
    """The first event that a write-ahead file will bring behind the log's head; 0: none."""
    born: Seq = BEGINNING
    is_live: bool = False
    """Somebody writes it now: what is at its end may be under way."""


@dataclass(slots=True)
class LogExam(Exam):
    """What is wrong with a log, and its newest event once that is repaired."""

    head: Seq = BEGINNING
    events: int = 0
    segments: int = 0


def seq_between(before: Seq, after: Seq, wanted: Seq = BEGINNING) -> Seq | None:
    """A sequence for an alert between two events (`after` 0: nothing follows); None when there is no room."""
    seq = wanted if wanted > before and (not after or wanted < after) else Seq(before + 1)
    return seq if not after or seq < after else None


def mend_log(
    files: Files,
    directory: str,
    name: LogName,
    segments: Sequence[SegmentExam],
    bounds: Bounds,
    copies: Sequence[str] = (),
) -> LogExam:
    """What is wrong with a log whose segments were examined in their order. Raises OSError.

    `copies` are files that tell again what another one tells.
    """
    plan = _Plan(files, directory, name, bounds)
    for path in copies:
        what = f"a file of {name.shown} is a copy of another one; nothing is lost"
        plan.put_away(path, "segment_foreign", what)
    for segment in segments:
        if segment.is_foreign:
            what = f"a file of {name.shown} has no event of it, or only such as others have, too"
            plan.put_away(segment.path, "segment_foreign", what)
    segments = [segment for segment in segments if not segment.is_foreign]
    for place, segment in enumerate(segments):
        plan.take(segment, segments[place + 1] if place + 1 < len(segments) else None)
    plan.finish(segments)
    return plan.exam


class _Plan:
    def __init__(self, files: Files, directory: str, name: LogName, bounds: Bounds) -> None:
        self._files = files
        self._directory = directory
        self._name = name
        self._bounds = bounds
        self._begun = False
        self._state = Opening(BEGINNING, 0, NO_OFFSETS)
        """What the repaired log has so far."""
        self._alerted = False
        """The newest of it is an alert."""
        self._is_sure = True
        """The offsets of the state are known, not guessed."""
        self._aways: list[Fix] = []
        self._fixes: list[Fix] = []
        self.exam = LogExam()

    def finish(self, segments: Sequence[SegmentExam]) -> None:
        """What is gone behind the newest segment; then what is to be done, in its order."""
        complete = self._bounds.complete
        if complete is not None and complete.head > self._state.after and not self._bounds.promised:
            if not self._begun:
                self._state = self._state._replace(after=Seq(complete.head - 1))
            path = f"{self._directory}/{segment_name(complete.head)}" if not segments else segments[-1].path
            self._missing(path, complete.head, complete.offsets)
        self.exam.fixes += [*self._aways, *self._fixes]
        self.exam.head = self._state.after
        self.exam.segments = len(segments)

    def take(self, segment: SegmentExam, following: SegmentExam | None) -> None:
        """One segment behind what was taken before it."""
        self.exam.events += segment.events
        if self._bounds.is_live and following is None:
            segment = _without_torn_tail(segment)
            if not segment.oldest and not segment.bads and segment.opening is None:
                return  # It is just being made.
        if not segment.oldest and (not segment.bads or self._is_nothing(segment, following)):
            self._take_empty(segment, following)
            self._bridge(following)
            return
        was_begun = self._begun
        opening, is_new = self._opening_for(segment)
        alerts = self._alerts_for(segment, opening, following)
        if not segment.oldest and not alerts:  # There is no room for an event where it is.
            self._begun = was_begun
            self._put_away(segment, following)
            self._bridge(following)
            return
        self._tell(segment, alerts)
        first = min(seq for seq in (segment.oldest, *(alert.seq for alert in alerts.values())) if seq)
        if first != segment.first and not segment.bads:
            self._problem(
                "segment_misnamed",
                segment.path,
                f"a file with events of {self._name.shown} does not have the name of its first event, so "
                "readers may not find them; nothing is lost",
                repair="gives it its name",
            )
        if is_new or segment.bads or segment.mended or first != segment.first:
            fresh = f"{self._directory}/{segment_name(first)}"
            rewrite = partial(rewrite_segment, segment, fresh, self._name.said, opening, alerts)
            self._fixes.append(rewrite)
        self._behind(segment, opening, alerts)
        self._bridge(following)

    # The opening line.

    def _opening_for(self, segment: SegmentExam) -> tuple[Opening, bool]:
        """How the segment begins, and whether that is another line than it has."""
        found, state = segment.opening, self._state
        if not self._begun:
            self._begun = True
            if found is not None:
                return found, False
            self._tell_opening(segment)
            return self._first_opening(segment), True
        if found is None:
            self._tell_opening(segment)
            restored, is_certain = self._restored(segment)
            tells_itself = bool(segment.bads) and segment.bads[0].before == segment.after
            if not is_certain and not self._alerted and not tells_itself:
                seq = seq_between(state.after, segment.oldest)
                if seq is not None:
                    self._insert(Alert(seq, None, None))
                    return self._state, True
            return restored, True
        if found.after == state.after and found.offsets == state.offsets:
            return found, False
        if self._is_sure:
            self._problem(
                "opening_mismatch",
                segment.path,
                f"a file of {self._name.shown} does not go on where the one before it ends; nothing is lost",
                offset=0,
                repair="writes its opening line anew",
            )
        return Opening(state.after, found.events, state.offsets), True

    def _first_opening(self, segment: SegmentExam) -> Opening:
        """That of the oldest segment: what it said cannot be told from anything else, so it is told late."""
        said = _said(self._files, segment)
        if _is_sealed_as(Opening(BEGINNING, 0, NO_OFFSETS), segment) or said.startswith(_NOTHING_BEFORE):
            return Opening(BEGINNING, 0, NO_OFFSETS)
        events = _SAID_EVENTS.search(said)
        return Opening(Seq(segment.first - 1), int(events[1]) if events else 0, _said_offsets(said))

    def _restored(self, segment: SegmentExam) -> tuple[Opening, bool]:
        """The opening line that follows from what came before, and whether the sum proves it."""
        state = self._state
        said = _said(self._files, segment)
        events = _SAID_EVENTS.search(said)
        counted = state._replace(events=int(events[1])) if events else state
        for guess in (state, counted, counted._replace(offsets=_said_offsets(said))):
            if _is_sealed_as(guess, segment):
                return guess, True
        return state, False

    def _tell_opening(self, segment: SegmentExam) -> None:
        if not segment.bads or segment.bads[0].begin > 0:
            self._problem(
                "segment_corrupt",
                segment.path,
                f"the opening line of a file of {self._name.shown} is not what was written: reads that come "
                "to it fail; its events are whole",
                offset=0,
                repair="writes it anew",
            )

    # Alerts.

    def _alerts_for(
        self, segment: SegmentExam, opening: Opening, following: SegmentExam | None
    ) -> dict[int, Alert]:
        """The alerts of a segment, by where the bad bytes begin that they stand for."""
        alerts: dict[int, Alert] = {}
        for bad in segment.bads:
            before = Seq(max(bad.before, opening.after))
            if bad is segment.tail:
                alert = self._tail_alert(bad, before, segment, following)
            else:
                wanted = segment.first if bad.before <= opening.after else BEGINNING
                seq = seq_between(before, bad.after, wanted)
                alert = None if seq is None else Alert(seq, None, bad)
            if alert is not None:
                alerts[bad.begin] = alert
        last = max(alerts, default=None)
        if last is not None and following is not None and following.opening is not None:
            offsets = segment.offsets if segment.offsets is not None else opening.offsets
            if offsets != following.opening.offsets:  # The lost append brought them.
                alerts[last] = alerts[last]._replace(offsets=following.opening.offsets)
        return alerts

    def _tail_alert(
        self, bad: Bad, before: Seq, segment: SegmentExam, following: SegmentExam | None
    ) -> Alert | None:
        if following is not None:
            opening = following.opening
            if opening is None:
                seq = seq_between(before, following.first, segment.first if not segment.oldest else BEGINNING)
                return None if seq is None else Alert(seq, None, bad)
            return Alert(opening.after, opening.offsets, bad) if opening.after > before else None
        complete, promised = self._bounds.complete, self._bounds.promised
        if promised:
            seq = seq_between(before, promised) if not bad.is_torn else None
            return None if seq is None else Alert(seq, None, bad)
        if complete is not None and complete.head > before:
            return Alert(complete.head, complete.offsets, bad)
        if bad.is_torn:
            return None
        seq = seq_between(before, BEGINNING, segment.first if not segment.oldest else BEGINNING)
        return None if seq is None else Alert(seq, None, bad)

    def _bridge(self, following: SegmentExam | None) -> None:
        """See that nothing is missing before a segment that says what came before it."""
        opening = None if following is None else following.opening
        if (
            following is not None
            and opening is not None
            and self._begun
            and opening.after > self._state.after
        ):
            self._missing(following.path, opening.after, opening.offsets)

    def _missing(self, path: str, through: Seq, offsets: StreamOffsets) -> None:
        before = self._state.after
        self._problem(
            "segment_missing",
            path,
            f"events of {self._name.shown} between {encode_cursor(before)} and {encode_cursor(through)} are "
            "gone with their file; all others are there",
            offset=0,
            repair="puts an alert in their place",
        )
        self._insert(Alert(through, offsets, None))

    def _insert(self, alert: Alert) -> None:
        """A segment of its own for an alert."""
        state = self._state
        path = f"{self._directory}/{segment_name(alert.seq)}"
        self._fixes.append(partial(insert_segment, path, self._name.said, state, alert))
        offsets = state.offsets if alert.offsets is None else alert.offsets
        self._state = Opening(alert.seq, state.events + 1, offsets)
        self._begun = self._alerted = True

    # Going on.

    def _behind(self, segment: SegmentExam, opening: Opening, alerts: Mapping[int, Alert]) -> None:
        newest = max(alerts.values(), key=lambda alert: alert.seq, default=None)
        offsets = segment.offsets if segment.offsets is not None else opening.offsets
        head = Seq(max(opening.after, segment.head))
        self._alerted = newest is not None and newest.seq > head
        if newest is not None:
            head = Seq(max(head, newest.seq))
            offsets = offsets if newest.offsets is None else newest.offsets
        self._is_sure = segment.opening is not None and not segment.bads
        self._state = Opening(head, opening.events + segment.events + len(alerts), offsets)

    def _is_nothing(self, segment: SegmentExam, following: SegmentExam | None) -> bool:
        """Whether a segment without a good event stands for no event at all."""
        complete = self._bounds.complete
        if following is None:
            is_known = complete is not None and complete.head > self._state.after
            return not is_known and all(bad.is_torn for bad in segment.bads)
        opening = following.opening
        return opening is not None and opening.after == self._state.after

    def _take_empty(self, segment: SegmentExam, following: SegmentExam | None) -> None:
        """A segment that was made for an append that never was; an opening line alone is as it should be."""
        opening = segment.opening
        if opening is None or (segment.bads and following is not None):
            self._put_away(segment, following)
            return
        if following is None and not self._begun:
            self._begun, self._state = True, opening  # All before it was dropped, and it says so.
        if segment.bads:
            self._tell(segment, {})
            cut = partial(rewrite_segment, segment, segment.path, self._name.said, opening, {})
            self._fixes.append(cut)

    def _put_away(self, segment: SegmentExam, following: SegmentExam | None) -> None:
        is_torn = following is None and all(bad.is_torn for bad in segment.bads)
        what = f"a file of {self._name.shown} has no whole append, and none is missing; nothing is lost"
        self.put_away(segment.path, "segment_torn" if is_torn else "segment_foreign", what)

    def put_away(self, path: str, code: str, what: str) -> None:
        """A file that tells of nothing."""
        self._aways.append(partial(move, path))
        self._problem(code, path, what, offset=0, repair="moves the file aside")

    # Words.

    def _tell(self, segment: SegmentExam, alerts: Mapping[int, Alert]) -> None:
        for begin in segment.mended:
            self._problem(
                "segment_corrupt",
                segment.path,
                f"the sum of an append to {self._name.shown} is not what was written: reads that come to it "
                "fail; its events are whole",
                offset=begin,
                repair="writes the sum anew",
            )
        for bad in segment.bads:
            size = bad.end - bad.begin
            if bad.begin in alerts:
                self._problem(
                    "segment_corrupt",
                    segment.path,
                    f"{size} bytes of {self._name.shown} {bad.reason}: their events are lost, and reads that "
                    "come to them fail; all other events are there",
                    offset=bad.begin,
                    repair="puts an alert in their place",
                )
            else:
                self._problem(
                    "segment_torn" if bad is segment.tail else "segment_corrupt",
                    segment.path,
                    f"{size} bytes of {self._name.shown} {bad.reason}: no event is lost with them",
                    offset=bad.begin,
                    repair="cuts them off" if bad is segment.tail else "takes them out",
                )

    def _problem(
        self, code: str, path: str, meaning: str, *, offset: int | None = None, repair: str | None = None
    ) -> None:
        self.exam.problems.append(
            Problem(
                severity="warning" if code in _HARMLESS else "error",
                code=code,
                path=path,
                offset=offset,
                meaning=meaning,
                repair=repair,
                worker_id=self._name.worker_id,
            )
        )


_HARMLESS = frozenset({"segment_torn", "segment_foreign", "segment_misnamed", "opening_mismatch"})


def _without_torn_tail(segment: SegmentExam) -> SegmentExam:
    """A segment without what may be an append that is being written."""
    tail = segment.tail
    if tail is None or not tail.is_torn:
        return segment
    return replace(segment, bads=segment.bads[:-1], size_bytes=tail.begin)


def _said(files: Files, segment: SegmentExam) -> bytes:
    """What stands where the opening line should be."""
    fd = files.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return files.read_through(fd, OPENING_BYTES_MAX)
    finally:
        files.close(fd)


def _said_offsets(said: bytes) -> StreamOffsets:
    match = _SAID_OFFSETS.search(said)
    return NO_OFFSETS if match is None else StreamOffsets(int(match[1]), int(match[2]), int(match[3]))


def _is_sealed_as(opening: Opening, segment: SegmentExam) -> bool:
    """Whether an opening line has the sum that what follows it proves."""
    return stated_crc(sealed(opening_line(opening))[0]) == segment.opening_stated
