"""Decides how a damaged log becomes one that reads from its beginning to its end, and does it.

What is good stays, byte for byte. In the place of what is not stands an
*alert*: an event of its own that tells every reader who passes how much was
unreadable and where it is now. Its sequence lies in the hole, and where a
segment follows, it is the one that the segment's opening line says came before.

    [ a b ? ? ][ after=d  e f ]    ->    [ a b !d ][ after=d  e f ]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from watchglass.protocol.cursor import BEGINNING, Seq
from watchglass.store.base import StreamOffsets

from .alerts import Elsewhere, alerts_for, seq_between
from .examining import SegmentExam
from .files import Files
from .fixing import Alert, insert_segment, move, rewrite_segment
from .layout import segment_name
from .loading import NO_OFFSETS
from .log_exam import LogExam, LogName, LogTelling
from .openings import first_opening, restored_opening
from .problems import Fix
from .segment import Opening


def mend_log(
    files: Files,
    directory: str,
    name: LogName,
    segments: Sequence[SegmentExam],
    known: Elsewhere,
    copies: Sequence[str] = (),
) -> LogExam:
    """What is wrong with a log whose segments were examined in their order. Raises OSError.

    `copies` are files that tell again what another one tells.
    """
    plan = _Plan(files, directory, name, known)
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
    def __init__(self, files: Files, directory: str, name: LogName, known: Elsewhere) -> None:
        self._files = files
        self._directory = directory
        self._name = name
        self._known = known
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
        self._tell = LogTelling(name, self.exam)

    def finish(self, segments: Sequence[SegmentExam]) -> None:
        """What is gone behind the newest segment; then what is to be done, in its order."""
        complete = self._known.complete
        if complete is not None and complete.head > self._state.after and not self._known.promised:
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
        if self._known.is_live and following is None:
            segment = _without_torn_tail(segment)
            if not segment.oldest and not segment.bads and segment.opening is None:
                return  # It is just being made.
        if not segment.oldest and (not segment.bads or self._is_nothing(segment, following)):
            self._take_empty(segment, following)
            self._bridge(following)
            return
        was_begun = self._begun
        opening, is_new = self._opening_for(segment)
        alerts = alerts_for(segment, opening, following, self._known)
        if not segment.oldest and not alerts:  # There is no room for an event where it is.
            self._begun = was_begun
            self._put_away(segment, following)
            self._bridge(following)
            return
        self._tell.segment(segment, alerts)
        first = min(seq for seq in (segment.oldest, *(alert.seq for alert in alerts.values())) if seq)
        if first != segment.first and not segment.bads:
            self._tell.misnamed(segment.path)
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
            self._tell.opening_lost(segment)
            return first_opening(self._files, segment), True
        if found is None:
            self._tell.opening_lost(segment)
            restored, is_certain = restored_opening(self._files, segment, state)
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
            self._tell.opening_mismatch(segment.path)
        return Opening(state.after, found.events, state.offsets), True

    # What is gone.

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
        self._tell.missing(path, self._state.after, through)
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
        complete = self._known.complete
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
            self._tell.segment(segment, {})
            cut = partial(rewrite_segment, segment, segment.path, self._name.said, opening, {})
            self._fixes.append(cut)

    def _put_away(self, segment: SegmentExam, following: SegmentExam | None) -> None:
        is_torn = following is None and all(bad.is_torn for bad in segment.bads)
        what = f"a file of {self._name.shown} has no whole append, and none is missing; nothing is lost"
        self.put_away(segment.path, "segment_torn" if is_torn else "segment_foreign", what)

    def put_away(self, path: str, code: str, what: str) -> None:
        """A file that tells of nothing."""
        self._aways.append(partial(move, path))
        self._tell.problem(code, path, what, offset=0, repair="moves the file aside")


def _without_torn_tail(segment: SegmentExam) -> SegmentExam:
    """A segment without what may be an append that is being written."""
    tail = segment.tail
    if tail is None or not tail.is_torn:
        return segment
    return replace(segment, bads=segment.bads[:-1], size_bytes=tail.begin)
