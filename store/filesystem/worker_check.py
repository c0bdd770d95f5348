"""Checks one worker's folder: its record, its log, its view, and what a companion keeps there."""

from __future__ import annotations

import stat
from functools import partial
from pathlib import Path

from watchglass.protocol.cursor import BEGINNING, Seq
from watchglass.protocol.identity import WorkerId, id_fault

from .alerts import Elsewhere
from .fixing import forget_log, make_directory, move, restore_record
from .inspection import Inspection, Part, note
from .journals import Journal
from .layout import EVENTS
from .loading import NO_OFFSETS, LogFacts
from .log_check import LogCheck
from .log_exam import LogExam, LogName
from .mending import mend_log
from .problems import Exam, Problem
from .records import RECORD_FILE, VIEW_FILE, Kept, complete_facts, known_log, read_record, read_view
from .segment import SEGMENT_FILE


class WorkerCheck(Part):
    """The part of a check that looks at workers."""

    def __init__(self, inspection: Inspection, logs: LogCheck) -> None:
        super().__init__(inspection)
        self._companion = inspection.companion
        self._logs = logs

    def worker(self, name: str, journal: Journal) -> Exam:
        """One name among the workers. Raises OSError."""
        directory = self._layout.worker(name)
        if name.startswith("+"):
            if self._inspection.is_live:
                return Exam()
            return note("leftover", directory, "is what is left of a worker that was never told of")
        if id_fault(name) is not None or not stat.S_ISDIR(self._files.stat(directory).st_mode):
            return note("foreign_file", directory, "is no worker; it is left alone")
        kept, exam = self._record(name, directory, journal)
        if kept is None:
            if not exam.fixes:
                self._heads[name] = BEGINNING  # It stays.
            return exam
        self._heads[name] = BEGINNING
        self._found.workers += 1
        exam.add(self._events(name, directory, kept, journal))
        if not self._inspection.is_live:
            exam.add(self._leftovers(directory))
        if self._is_unreadable_view(directory):
            path = f"{directory}/{VIEW_FILE}"
            meaning = "is not what was written; nothing is lost: it is made again from the events"
            problem = Problem(
                severity="warning",
                code="view_unreadable",
                path=path,
                meaning=meaning,
                repair="moves it aside",
                worker_id=name,
            )
            exam.tell(problem, partial(move, path))
        if self._companion is not None:
            exam.add(self._companion.examine(directory, name))
        return exam

    def _record(self, name: WorkerId, directory: str, journal: Journal) -> tuple[Kept | None, Exam]:
        """The worker's record, from its file or from a write-ahead file."""
        try:
            kept = read_record(self._files, directory)
        except FileNotFoundError:
            code, what = "record_missing", "is missing"
        else:
            if kept is None:
                code, what = "record_unreadable", "is not what was written"
            elif kept.record.worker_id != name:
                code, what = "record_foreign", f"is that of worker {kept.record.worker_id!r}"
            else:
                return kept, Exam()
        again = journal.kept.get(name)
        if again is None:
            return None, self._without_record(name, directory, code, what)
        problem = _bad_record(
            name, directory, code, f"{what}; nothing is lost: a write-ahead file has it", "writes it again"
        )
        exam = Exam()
        exam.tell(problem, partial(restore_record, directory, again, is_there=code != "record_missing"))
        return again, exam

    def _without_record(self, name: WorkerId, directory: str, code: str, what: str) -> Exam:
        """Nothing says any more what this worker was."""
        exam = Exam()
        meaning = f"{what}: the worker is not listed and its events cannot be read; others are not affected"
        running = None if self._companion is None else self._companion.running(directory)
        if running is None:
            problem = _bad_record(name, directory, code, meaning, "moves the worker's whole folder aside")
            exam.tell(problem, partial(move, directory))
        else:
            meaning += f"; its program still runs (supervisor {running}): end it before a repair"
            exam.tell(_bad_record(name, directory, code, meaning, None))
        return exam

    def _events(self, name: WorkerId, directory: str, kept: Kept, journal: Journal) -> Exam:
        """The worker's log, and what the record keeps of it."""
        events = f"{directory}/{EVENTS}"
        facts = None if kept.log is None else complete_facts(kept.log)
        try:
            exam = self._logs.log(events, LogName(name), journal, facts)
        except FileNotFoundError:
            if not Path(directory).is_dir():
                raise
            born = LogFacts(Seq(kept.born + 1), BEGINNING, BEGINNING, NO_OFFSETS)
            exam = self._lost_events(name, events, facts or born)
        if facts is None:
            return exam
        if exam.fixes:
            exam.fixes.append(partial(forget_log, directory, kept))
        elif self._is_stale(events, kept, facts):
            meaning = (
                "tells of events that are not there any more: their files were taken away, and reads of them "
                "fail; all others are there"
            )
            problem = _bad_record(
                name, directory, "record_stale", meaning, "writes it again, without what is wrong"
            )
            exam.tell(problem, partial(forget_log, directory, kept))
        return exam

    def _lost_events(self, name: WorkerId, events: str, lost: LogFacts) -> LogExam:
        """The folder of the log is gone: an alert stands for all that was in it."""
        exam = mend_log(self._files, events, LogName(name), (), Elsewhere(complete=lost))
        self._heads[name] = exam.head
        meaning = "is missing: events of this worker are lost, if it had any; others are not affected"
        exam.problems = [
            Problem(
                severity="error",
                code="events_missing",
                path=events,
                meaning=meaning,
                repair="makes it, with an alert in it",
                worker_id=name,
            )
        ]
        exam.fixes.insert(0, partial(make_directory, events))
        return exam

    def _is_stale(self, events: str, kept: Kept, facts: LogFacts) -> bool:
        """Whether what the record keeps of its log would be believed, and is not so."""
        if known_log(self._files, events, kept.log) is None:
            return False
        names = [name for name in self._files.listdir(events) if SEGMENT_FILE.match(name)]
        return min(int(name[:16], 16) for name in names) != facts.oldest

    def _is_unreadable_view(self, directory: str) -> bool:
        try:
            return read_view(self._files, directory) is None and Path(f"{directory}/{VIEW_FILE}").exists()
        except IsADirectoryError:
            return True

    def _leftovers(self, directory: str) -> Exam:
        exam = Exam()
        for folder in (directory, f"{directory}/{EVENTS}"):
            for name in self._inspection.names(folder):
                if name.endswith(".new"):
                    exam.add(note("leftover", f"{folder}/{name}", "was never finished, and is not used"))
        return exam


def _bad_record(name: WorkerId, directory: str, code: str, meaning: str, repair: str | None) -> Problem:
    return Problem(
        severity="error",
        code=code,
        path=f"{directory}/{RECORD_FILE}",
        meaning=meaning,
        repair=repair,
        worker_id=name,
    )
