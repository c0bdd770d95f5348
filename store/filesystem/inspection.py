"""One check of a runtime's directory under way: what is known so far, and how one looks.

A server may have the directory open meanwhile. Then what looks wrong is looked at
again, and counts when it stays: files come, go and grow beside us.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from watchglass.protocol.cursor import BEGINNING, Seq
from watchglass.protocol.identity import WorkerId

from .files import Files
from .holder import Holder, holder_of
from .layout import Layout
from .problems import Exam, Problem

_LOOKS: Final = 3
"""How often a place beside a running server is looked at before something is wrong with it."""


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


class Inspection:
    """What the parts of one check share."""

    def __init__(
        self, path: Path, companion: Companion | None, files: Files, holder: Holder | None, *, is_ours: bool
    ) -> None:
        self.files = files
        self.layout = Layout(path)
        self.companion = companion
        self._is_ours = is_ours
        self.found = RuntimeCheck(path.name, path, holder)
        self.exam = self.found.exam
        self.heads: dict[WorkerId | None, Seq] = {}
        self.newest = BEGINNING
        """The newest event that is there; with alerts that a repair would write in `heads`."""

    @property
    def is_live(self) -> bool:
        """Whether a server has the directory open."""
        return self.found.holder is not None

    def take(self, examine: Callable[[], Exam], path: str, worker_id: WorkerId | None = None) -> None:
        """Examine something; beside a running server, until nothing is wrong or the same is again."""
        exam = self._examined(examine, path, worker_id)
        for _ in range(_LOOKS - 1):
            if exam.is_clean:
                break
            if not self.is_live and not self._is_ours:
                self.found.holder = holder_of(self.layout.path)
            if not self.is_live:
                break
            before = {problem.place for problem in exam.problems}
            exam = self._examined(examine, path, worker_id)
            exam.problems = [problem for problem in exam.problems if problem.place in before]
        self.exam.add(exam)

    def _examined(self, examine: Callable[[], Exam], path: str, worker_id: WorkerId | None) -> Exam:
        try:
            return examine()
        except OSError as fault:
            if self.is_live and isinstance(fault, FileNotFoundError):
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

    def names(self, directory: str) -> list[str]:
        """What a directory has; nothing when it cannot be read, which is told."""
        try:
            return sorted(self.files.listdir(directory))
        except FileNotFoundError:
            return []  # The next start makes it.
        except OSError:
            self.take(partial(self._listed, directory), directory)
            return []

    def _listed(self, directory: str) -> Exam:
        self.files.listdir(directory)
        return Exam()


class Part:
    """One part of a check."""

    def __init__(self, inspection: Inspection) -> None:
        self._inspection = inspection
        self._files = inspection.files
        self._layout = inspection.layout
        self._heads = inspection.heads
        self._found = inspection.found


def note(code: str, path: str, meaning: str) -> Exam:
    """Something worth knowing, with which nothing is wrong."""
    return Exam([Problem(severity="info", code=code, path=path, meaning=meaning)])
