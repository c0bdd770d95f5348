"""Checks a runtime's directory: everything that is kept there, read whole, without changing a byte.

A server may have it open meanwhile. Then what looks wrong is looked at again,
and counts when it stays: files come, go and grow beside us. The end of a file
that is being written is not judged at all.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import orjson

from watchglass.protocol.cursor import BEGINNING, Seq
from watchglass.protocol.identity import WorkerId, id_fault

from .ceiling import kept_ceiling
from .examining import SegmentExam, examine_segment, first_event, seems_to_begin_with
from .files import Files
from .fixing import forget_log, make_directory, move, restore_record, write_ceiling, write_runtime_json
from .journals import Heads, Journal, mend_journal, read_journal
from .layout import EVENTS, SCHEMA, Layout, segment_name
from .loading import NO_OFFSETS
from .log import LogFacts
from .mending import Bounds, LogExam, LogName, mend_log
from .problems import Exam, Problem
from .records import (
    RECORD_FILE,
    VIEW_FILE,
    Kept,
    complete_facts,
    known_log,
    read_record,
    read_view,
)
from .segment import SEGMENT_FILE

_LOOKS = 3
"""How often a place beside a running server is looked at before something is wrong with it."""
_SAID_SCHEMA = re.compile(rb'"schema":\s*(\d{1,9})')
_REMOVED = re.compile(r".+\+[0-9a-f]{1,16}\Z")


class Holder(NamedTuple):
    """Who has a runtime's directory open, as far as the lock file tells."""

    pid: int | None
    since: str | None


class Companion(Protocol):
    """Somebody else who keeps files in workers' folders."""

    def examine(self, directory: str, worker_id: WorkerId) -> Exam:
        """What is wrong with them. Raises OSError."""

    def running(self, directory: str) -> int | None:
        """The pid of a process that uses the folder without a server; None when there is none."""


@dataclass(slots=True)
class RuntimeCheck:
    """What a runtime's directory has, and what is wrong with it."""

    runtime_id: str
    path: Path
    holder: Holder | None = None
    schema: int | None = None
    workers: int = 0
    events: int = 0
    segments: int = 0
    exam: Exam = field(default_factory=Exam)


def check_runtime(
    path: Path,
    *,
    companion: Companion | None = None,
    files: Files | None = None,
    is_ours: bool = False,
) -> RuntimeCheck:
    """Check everything. What cannot be read is a problem, too; nothing is raised for it.

    `is_ours`: we hold its lock ourselves.
    """
    holder = None if is_ours else holder_of(path)
    return _Check(path, companion, files or Files(), holder, is_ours=is_ours).run()


def holder_of(path: Path) -> Holder | None:
    """Who holds a runtime's lock; None when nobody does. It is asked for an instant, and not taken."""
    try:
        fd = os.open(f"{path}/lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        try:
            said = orjson.loads(os.pread(fd, 4096, 0))
            return Holder(int(said["pid"]), str(said["since"]))
        except (ValueError, KeyError, TypeError):
            return Holder(None, None)
    finally:
        os.close(fd)
    return None


class _Check:
    def __init__(
        self, path: Path, companion: Companion | None, files: Files, holder: Holder | None, *, is_ours: bool
    ) -> None:
        self._files = files
        self._layout = Layout(path)
        self._companion = companion
        self._is_ours = is_ours
        self._found = RuntimeCheck(path.name, path, holder)
        self._exam = self._found.exam
        self._heads: dict[WorkerId | None, Seq] = {}
        self._newest = BEGINNING
        """The newest event that is there; with alerts that a repair would write in `_heads`."""

    def run(self) -> RuntimeCheck:
        """Check everything, the ceiling last: it must lie above what was read before."""
        if not self._is_known():
            return self._found
        journal = Journal()
        self._take(partial(self._read_journal, journal), self._layout.journal)
        self._take(partial(self._runtime_log, journal), self._layout.runtime_events)
        for name in self._names(self._layout.workers):
            self._take(partial(self._worker, name, journal), self._layout.worker(name), name)
        for name in self._names(self._layout.removed):
            self._take(partial(self._removed, name), f"{self._layout.removed}/{name}")
        if not self._is_live:
            self._take(self._unfinished, str(self._layout.path))
        alerts: list[Seq] = []
        self._take(partial(self._journal, journal, alerts), self._layout.journal)
        self._take(partial(self._ceiling, journal, alerts), self._layout.ceiling)
        return self._found

    @property
    def _is_live(self) -> bool:
        return self._found.holder is not None

    def _take(self, examine: Callable[[], Exam], path: str, worker_id: WorkerId | None = None) -> None:
        """Examine something; beside a running server, until nothing is wrong or the same is again."""
        exam = self._examined(examine, path, worker_id)
        for _ in range(_LOOKS - 1):
            if exam.is_clean:
                break
            if not self._is_live and not self._is_ours:
                self._found.holder = holder_of(self._layout.path)
            if not self._is_live:
                break
            before = {problem.place for problem in exam.problems}
            exam = self._examined(examine, path, worker_id)
            exam.problems = [problem for problem in exam.problems if problem.place in before]
        self._exam.add(exam)

    def _examined(self, examine: Callable[[], Exam], path: str, worker_id: WorkerId | None) -> Exam:
        try:
            return examine()
        except OSError as fault:
            if self._is_live and isinstance(fault, FileNotFoundError):
                return Exam()  # It was deleted meanwhile.
            where = str(fault.filename or path)
            meaning = f"cannot be read: {fault.strerror or fault}; what it holds was not checked"
            return Exam(
                [
                    Problem(
                        severity="error", code="unreadable", path=where, meaning=meaning, worker_id=worker_id
                    )
                ]
            )

    def _names(self, directory: str) -> list[str]:
        try:
            return sorted(self._files.listdir(directory))
        except FileNotFoundError:
            return []  # The next start makes it.
        except OSError:
            self._take(partial(self._listed, directory), directory)
            return []

    def _listed(self, directory: str) -> Exam:
        self._files.listdir(directory)
        return Exam()

    # The runtime's own files.

    def _is_known(self) -> bool:
        """Look at runtime.json; whether the rest can be understood."""
        path = self._layout.runtime_json
        try:
            said = self._files.read_whole(path)
        except FileNotFoundError:
            self._tell_runtime("runtime_json_missing", "is missing")
            return True
        except OSError as fault:
            meaning = f"cannot be read: {fault.strerror}; nothing was checked"
            self._exam.problems.append(
                Problem(severity="error", code="unreadable", path=path, meaning=meaning)
            )
            return False
        try:
            facts: Any = json.loads(said)
            self._found.schema, whose = int(facts["schema"]), facts["runtime_id"]
        except (ValueError, KeyError, TypeError):
            schema = _SAID_SCHEMA.search(said)
            self._found.schema = int(schema[1]) if schema else None
            whose = None
        if self._found.schema is not None and self._found.schema > SCHEMA:
            meaning = (
                f"is of schema {self._found.schema}, and this version of watchglass knows schema {SCHEMA}; "
                "use the newer version that wrote it; nothing was checked"
            )
            self._exam.problems.append(
                Problem(severity="error", code="schema_newer", path=path, meaning=meaning)
            )
            return False
        if whose is None:
            self._tell_runtime("runtime_json_unreadable", "is not what was written")
        elif whose != self._found.runtime_id:
            self._tell_runtime("runtime_json_foreign", f"is that of runtime {whose!r}")
        return True

    def _tell_runtime(self, code: str, what: str) -> None:
        stands = "no server starts until it is written again" if code == "runtime_json_unreadable" else ""
        self._exam.problems.append(
            Problem(
                severity="error" if stands else "warning",
                code=code,
                path=self._layout.runtime_json,
                meaning=f"{what}; no event is lost{'; ' if stands else ''}{stands}",
                repair="writes it again",
            )
        )
        self._exam.fixes.append(
            partial(write_runtime_json, self._layout.runtime_json, self._found.runtime_id)
        )

    def _ceiling(self, journal: Journal, alerts: Iterable[Seq]) -> Exam:
        exam = Exam()
        path = self._layout.ceiling
        try:
            data: bytes | None = self._files.read_whole(path)
        except FileNotFoundError:
            data = None
        below = None if data is None else kept_ceiling(path, self._files)
        newest = Seq(max(self._newest, journal.newest))
        planned = Seq(max([newest, *self._heads.values(), *alerts]))
        if below is None and (newest or data is not None):
            word = "is missing" if data is None else "is not what was written"
            meaning = f"{word}; no event is lost; without a repair cursors run a minute ahead of the time"
            exam.problems.append(
                Problem(
                    severity="warning",
                    code="ceiling_unreadable",
                    path=path,
                    meaning=meaning,
                    repair="writes a safe one",
                )
            )
        elif below is not None and below <= newest:
            meaning = (
                "lies below events that are there, as when an old copy was put in its place; no event is "
                "lost; cursors of lost events could be given out again"
            )
            exam.problems.append(
                Problem(
                    severity="warning",
                    code="ceiling_low",
                    path=path,
                    meaning=meaning,
                    repair="writes a safe one",
                )
            )
        elif below is None or below > planned:
            return exam
        exam.fixes.append(partial(write_ceiling, path, planned))
        return exam

    def _unfinished(self) -> Exam:
        """What a kill left of a worker that was on its way here from elsewhere."""
        exam = Exam()
        for name in self._names(str(self._layout.path)):
            if name.startswith("incoming-"):
                path = f"{self._layout.path}/{name}"
                exam.add(_note("leftover", path, "is what is left of a worker that never arrived"))
        return exam

    def _removed(self, name: str) -> Exam:
        path = f"{self._layout.removed}/{name}"
        if _REMOVED.match(name):
            return Exam() if self._is_live else _note("leftover", path, "is what is left of a deleted worker")
        return Exam(
            [
                Problem(
                    severity="warning",
                    code="removed_foreign",
                    path=path,
                    meaning="is nothing of ours, and the next start stumbles over it",
                    repair="moves it aside",
                )
            ],
            [partial(move, path)],
        )

    # The write-ahead files.

    def _read_journal(self, journal: Journal) -> Exam:
        """Only read: what is wrong with them is told when the logs are known."""
        found = read_journal(self._files, self._layout)
        journal.paths, journal.appends, journal.kept = found.paths, found.appends, found.kept
        journal.bads, journal.created = found.bads, found.created
        return Exam()

    def _journal(self, journal: Journal, alerts: list[Seq]) -> Exam:
        if self._is_live:
            self._read_journal(journal)
            journal.bads = [bad for bad in journal.bads if not bad.is_torn]
            for log in [log for log in journal.appends if log not in self._heads]:
                del journal.appends[log]  # Of a worker that came, or went, while we looked.
        exam, newest = mend_journal(self._files, self._layout, journal, Heads(self._heads))
        alerts.append(newest)
        return exam

    # Logs.

    def _runtime_log(self, journal: Journal) -> Exam:
        directory = self._layout.runtime_events
        try:
            return self._log(directory, LogName(None), journal, None, BEGINNING)
        except FileNotFoundError:
            return Exam()  # The next start makes it.

    def _log(
        self, directory: str, name: LogName, journal: Journal, complete: LogFacts | None, born: Seq
    ) -> LogExam:
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
        bounds = Bounds(complete, promised, born, self._is_live)
        exam = mend_log(self._files, directory, name, segments, bounds, copies)
        self._newest = Seq(max(self._newest, newest))
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

    # Workers.

    def _worker(self, name: str, journal: Journal) -> Exam:
        """One name among the workers. Raises OSError."""
        directory = self._layout.worker(name)
        if name.startswith("+"):
            if self._is_live:
                return Exam()
            return _note("leftover", directory, "is what is left of a worker that was never told of")
        if id_fault(name) is not None or not stat.S_ISDIR(self._files.stat(directory).st_mode):
            return _note("foreign_file", directory, "is no worker; it is left alone")
        kept, exam = self._record(name, directory, journal)
        if kept is None:
            if not exam.fixes:
                self._heads[name] = BEGINNING  # It stays.
            return exam
        self._heads[name] = BEGINNING
        self._found.workers += 1
        exam.add(self._events(name, directory, kept, journal))
        if not self._is_live:
            exam.add(self._leftovers(directory))
        if self._is_unreadable_view(directory):
            path = f"{directory}/{VIEW_FILE}"
            meaning = "is not what was written; nothing is lost: it is made again from the events"
            exam.problems.append(
                Problem(
                    severity="warning",
                    code="view_unreadable",
                    path=path,
                    meaning=meaning,
                    repair="moves it aside",
                    worker_id=name,
                )
            )
            exam.fixes.append(partial(move, path))
        if self._companion is not None:
            exam.add(self._companion.examine(directory, name))
        return exam

    def _record(self, name: WorkerId, directory: str, journal: Journal) -> tuple[Kept | None, Exam]:
        """The worker's record, from its file or from a write-ahead file."""
        path = f"{directory}/{RECORD_FILE}"
        code, what = "", ""
        kept: Kept | None = None
        try:
            kept = read_record(self._files, directory)
            if kept is None:
                code, what = "record_unreadable", "is not what was written"
            elif kept.record.worker_id != name:
                code, what = "record_foreign", f"is that of worker {kept.record.worker_id!r}"
        except FileNotFoundError:
            code, what = "record_missing", "is missing"
        if not code:
            return kept, Exam()
        again = journal.kept.get(name)
        running = None if self._companion is None else self._companion.running(directory)
        exam = Exam()
        repair: str | None
        if again is not None:
            meaning = f"{what}; nothing is lost: a write-ahead file has it"
            repair = "writes it again"
            exam.fixes.append(partial(restore_record, directory, again, is_there=code != "record_missing"))
        else:
            meaning = (
                f"{what}: the worker is not listed and its events cannot be read; others are not affected"
            )
            repair = "moves the worker's whole folder aside"
            if running is not None:
                repair = None
                meaning += f"; its program still runs (supervisor {running}): end it before a repair"
            else:
                exam.fixes.append(partial(move, directory))
        exam.problems.append(
            Problem(severity="error", code=code, path=path, meaning=meaning, repair=repair, worker_id=name)
        )
        return again, exam

    def _events(self, name: WorkerId, directory: str, kept: Kept, journal: Journal) -> Exam:
        events = f"{directory}/{EVENTS}"
        facts = None if kept.log is None else complete_facts(kept.log)
        made = Exam()
        try:
            exam = self._log(events, LogName(name), journal, facts, kept.born)
        except FileNotFoundError:
            if not Path(directory).is_dir():
                raise
            meaning = "is missing: events of this worker are lost, if it had any; others are not affected"
            made.problems.append(
                Problem(
                    severity="error",
                    code="events_missing",
                    path=events,
                    meaning=meaning,
                    repair="makes it, with an alert in it",
                    worker_id=name,
                )
            )
            made.fixes.append(partial(make_directory, events))
            lost = facts or LogFacts(Seq(kept.born + 1), BEGINNING, BEGINNING, NO_OFFSETS)
            bounds = Bounds(lost, BEGINNING, kept.born, is_live=False)
            exam = mend_log(self._files, events, LogName(name), (), bounds)
            exam.problems.clear()
            self._heads[name] = exam.head
        made.add(exam)
        if facts is None:
            return made
        if exam.fixes:
            made.fixes.append(partial(forget_log, directory, kept))
        elif self._is_stale(events, kept, facts):
            meaning = (
                "tells of events that are not there any more: their files were taken away, and reads of them "
                "fail; all others are there"
            )
            made.problems.append(
                Problem(
                    severity="error",
                    code="record_stale",
                    path=f"{directory}/{RECORD_FILE}",
                    meaning=meaning,
                    repair="writes it again, without what is wrong",
                    worker_id=name,
                )
            )
            made.fixes.append(partial(forget_log, directory, kept))
        return made

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
            for name in self._names(folder):
                if name.endswith(".new"):
                    exam.add(_note("leftover", f"{folder}/{name}", "was never finished, and is not used"))
        return exam


def _note(code: str, path: str, meaning: str) -> Exam:
    return Exam([Problem(severity="info", code=code, path=path, meaning=meaning)])
