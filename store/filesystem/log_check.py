"""Checks logs: every segment of one, read whole, in the order of its events."""

from __future__ import annotations

from collections.abc import Sequence

from watchglass.protocol.cursor import BEGINNING, Seq

from .alerts import Elsewhere
from .examining import SegmentExam, examine_segment, first_event, seems_to_begin_with
from .inspection import Part
from .journals import Journal
from .layout import segment_name
from .loading import LogFacts
from .log_exam import LogExam, LogName
from .mending import mend_log
from .problems import Exam
from .segment import SEGMENT_FILE


class LogCheck(Part):
    """The part of a check that looks at them."""

    def runtime_log(self, journal: Journal) -> Exam:
        """The runtime's own. Raises OSError."""
        directory = self._layout.runtime_events
        try:
            return self.log(directory, LogName(None), journal, None)
        except FileNotFoundError:
            return Exam()  # The next start makes it.

    def log(self, directory: str, name: LogName, journal: Journal, complete: LogFacts | None) -> LogExam:
        """Read a log whole. Raises OSError."""
        self._heads[name.worker_id] = BEGINNING
        firsts = sorted(
            int(each[:16], 16) for each in self._files.listdir(directory) if SEGMENT_FILE.match(each)
        )
        segments: list[SegmentExam] = []
        newest = BEGINNING
        ordered, copies = self._in_order(directory, name, [Seq(first) for first in firsts])
        for first in ordered:
            try:
                segment = examine_segment(self._files, directory, first, name.said, newest)
            except FileNotFoundError:
                segments.clear()  # Retention drops the oldest, so what was before it is gone, too.
                continue
            if segment.size_bytes:
                segments.append(segment)
                newest = segment.head or newest
        if segments and not segments[-1].oldest and segments[-1].opening is not None:
            newest = Seq(max(newest, segments[-1].opening.after))
        promised = journal.promised(name.worker_id, newest)
        known = Elsewhere(complete, promised, self._inspection.is_live)
        exam = mend_log(self._files, directory, name, segments, known, copies)
        self._inspection.newest = Seq(max(self._inspection.newest, newest))
        self._heads[name.worker_id] = exam.head
        self._found.segments += exam.segments
        self._found.events += exam.events
        return exam

    def _in_order(
        self, directory: str, name: LogName, firsts: Sequence[Seq]
    ) -> tuple[Sequence[Seq], Sequence[str]]:
        """The files of a log by their first events, which is by their names unless somebody changed these.

        And those that have the first event of another one.
        """
        by_event: dict[Seq, Seq] = {first: first for first in firsts}
        copies: list[str] = []
        for first in firsts:
            path = f"{directory}/{segment_name(first)}"
            try:
                if seems_to_begin_with(self._files, path, first):
                    continue
                found = first_event(self._files, path, name.said)
            except FileNotFoundError:
                continue  # It was dropped meanwhile.
            if found is None or found == first:
                continue
            del by_event[first]
            if found in by_event:
                copies.append(path)
            else:
                by_event[found] = first
        return [by_event[event] for event in sorted(by_event)], copies
