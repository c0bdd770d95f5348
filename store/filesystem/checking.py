"""Checks a runtime's directory: everything that is kept there, read whole, without changing a byte.

    runtime.json → write-ahead files read → logs and workers → write-ahead files → ceiling

A server may have it open meanwhile (`inspection.py`). The end of a file that is
being written is not judged at all.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Final

from watchglass.protocol.cursor import Seq

from .files import Files
from .fixing import move
from .holder import holder_of
from .inspection import Companion, Inspection, Part, RuntimeCheck, note
from .journals import Heads, Journal, mend_journal, read_journal
from .log_check import LogCheck
from .problems import Exam, Problem
from .runtime_files_check import RuntimeFilesCheck
from .worker_check import WorkerCheck

_REMOVED: Final = re.compile(r".+\+[0-9a-f]{1,16}\Z")


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
    return _Check(Inspection(path, companion, files or Files(), holder, is_ours=is_ours)).run()


class _Check(Part):
    def __init__(self, inspection: Inspection) -> None:
        super().__init__(inspection)
        self._runtime_files = RuntimeFilesCheck(inspection)
        self._logs = LogCheck(inspection)
        self._workers = WorkerCheck(inspection, self._logs)

    def run(self) -> RuntimeCheck:
        """Check everything, the ceiling last: it must lie above what was read before."""
        if not self._runtime_files.is_known():
            return self._found
        journal = Journal()
        self._inspection.take(partial(self._read_journal, journal), self._layout.journal)
        self._inspection.take(partial(self._logs.runtime_log, journal), self._layout.runtime_events)
        for name in self._inspection.names(self._layout.workers):
            self._inspection.take(
                partial(self._workers.worker, name, journal), self._layout.worker(name), name
            )
        for name in self._inspection.names(self._layout.removed):
            self._inspection.take(partial(self._removed, name), f"{self._layout.removed}/{name}")
        if not self._inspection.is_live:
            self._inspection.take(self._unfinished, str(self._layout.path))
        alerts: list[Seq] = []
        self._inspection.take(partial(self._journal, journal, alerts), self._layout.journal)
        self._inspection.take(partial(self._runtime_files.ceiling, journal, alerts), self._layout.ceiling)
        return self._found

    def _unfinished(self) -> Exam:
        """What a kill left of a worker that was on its way here from elsewhere."""
        exam = Exam()
        for name in self._inspection.names(str(self._layout.path)):
            if name.startswith("incoming-"):
                path = f"{self._layout.path}/{name}"
                exam.add(note("leftover", path, "is what is left of a worker that never arrived"))
        return exam

    def _removed(self, name: str) -> Exam:
        path = f"{self._layout.removed}/{name}"
        if _REMOVED.match(name):
            return (
                Exam()
                if self._inspection.is_live
                else note("leftover", path, "is what is left of a deleted worker")
            )
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

    def _read_journal(self, journal: Journal) -> Exam:
        """Only read: what is wrong with them is told when the logs are known."""
        found = read_journal(self._files, self._layout)
        journal.paths, journal.appends, journal.kept = found.paths, found.appends, found.kept
        journal.bads, journal.created = found.bads, found.created
        return Exam()

    def _journal(self, journal: Journal, alerts: list[Seq]) -> Exam:
        if self._inspection.is_live:
            self._read_journal(journal)
            journal.bads = [bad for bad in journal.bads if not bad.is_torn]
            for log in [log for log in journal.appends if log not in self._heads]:
                del journal.appends[log]  # Of a worker that came, or went, while we looked.
        exam, newest = mend_journal(self._files, self._layout, journal, Heads(self._heads))
        alerts.append(newest)
        return exam
