"""What is wrong with a log, in the words that people and programs read."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

from watchglass.protocol.cursor import BEGINNING, Seq, encode_cursor
from watchglass.protocol.identity import WorkerId

from .examining import SegmentExam
from .problems import Exam, Problem

_HARMLESS = frozenset({"segment_torn", "segment_foreign", "segment_misnamed", "opening_mismatch"})


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


@dataclass(slots=True)
class LogExam(Exam):
    """What is wrong with a log, and its newest event once that is repaired."""

    head: Seq = BEGINNING
    events: int = 0
    segments: int = 0


@dataclass(frozen=True, slots=True)
class LogTelling:
    """Tells the problems of one log into its exam."""

    name: LogName
    exam: LogExam

    def segment(self, segment: SegmentExam, alerted: Collection[int]) -> None:
        """What is wrong inside one; `alerted`: where bad bytes begin that an alert will stand for."""
        for begin in segment.mended:
            self.problem(
                "segment_corrupt",
                segment.path,
                f"the sum of an append to {self.name.shown} is not what was written: reads that come to it "
                "fail; its events are whole",
                offset=begin,
                repair="writes the sum anew",
            )
        for bad in segment.bads:
            size = bad.end - bad.begin
            if bad.begin in alerted:
                self.problem(
                    "segment_corrupt",
                    segment.path,
                    f"{size} bytes of {self.name.shown} {bad.reason}: their events are lost, and reads that "
                    "come to them fail; all other events are there",
                    offset=bad.begin,
                    repair="puts an alert in their place",
                )
            else:
                self.problem(
                    "segment_torn" if bad is segment.tail else "segment_corrupt",
                    segment.path,
                    f"{size} bytes of {self.name.shown} {bad.reason}: no event is lost with them",
                    offset=bad.begin,
                    repair="cuts them off" if bad is segment.tail else "takes them out",
                )

    def missing(self, path: str, before: Seq, through: Seq) -> None:
        """A file of events is gone."""
        self.problem(
            "segment_missing",
            path,
            f"events of {self.name.shown} between {encode_cursor(before)} and {encode_cursor(through)} are "
            "gone with their file; all others are there",
            offset=0,
            repair="puts an alert in their place",
        )

    def misnamed(self, path: str) -> None:
        """A file of events has another name than that of its first one."""
        self.problem(
            "segment_misnamed",
            path,
            f"a file with events of {self.name.shown} does not have the name of its first event, so "
            "readers may not find them; nothing is lost",
            repair="gives it its name",
        )

    def opening_lost(self, segment: SegmentExam) -> None:
        """An opening line cannot be read; with events behind it, that is told of these."""
        if not segment.bads or segment.bads[0].begin > 0:
            self.problem(
                "segment_corrupt",
                segment.path,
                f"the opening line of a file of {self.name.shown} is not what was written: reads that come "
                "to it fail; its events are whole",
                offset=0,
                repair="writes it anew",
            )

    def opening_mismatch(self, path: str) -> None:
        """An opening line says something else of what came before it than what is there."""
        self.problem(
            "opening_mismatch",
            path,
            f"a file of {self.name.shown} does not go on where the one before it ends; nothing is lost",
            offset=0,
            repair="writes its opening line anew",
        )

    def problem(
        self, code: str, path: str, meaning: str, *, offset: int | None = None, repair: str | None = None
    ) -> None:
        """Anything else."""
        self.exam.tell(
            Problem(
                severity="warning" if code in _HARMLESS else "error",
                code=code,
                path=path,
                offset=offset,
                meaning=meaning,
                repair=repair,
                worker_id=self.name.worker_id,
            )
        )
