"""What can be wrong with a store's files, and what is done about it.

A problem is told to a person (one plain sentence) and to a program (`code`). A
*fix* is what `--repair` does about one or several of them. Who examines says
both at once, so what is announced and what is done cannot differ.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from watchglass.protocol.identity import WorkerId

if TYPE_CHECKING:
    from .aside import Aside

Severity = Literal["info", "warning", "error"]
Fix = Callable[["Aside"], None]
"""Raises OSError; then nothing is lost, and the next repair goes on."""


CODES: Final = frozenset(
    {
        "ceiling_low",
        "ceiling_unreadable",
        "events_missing",
        "exit_unreadable",
        "foreign_file",
        "leftover",
        "opening_mismatch",
        "output_index_corrupt",
        "output_index_short",
        "output_index_torn",
        "output_log_short",
        "record_foreign",
        "record_missing",
        "record_stale",
        "record_unreadable",
        "removed_foreign",
        "run_unreadable",
        "runtime_json_foreign",
        "runtime_json_missing",
        "runtime_json_unreadable",
        "schema_newer",
        "segment_corrupt",
        "segment_foreign",
        "segment_misnamed",
        "segment_missing",
        "segment_torn",
        "unreadable",
        "view_unreadable",
        "wal_corrupt",
        "wal_torn",
        "worker_missing",
    }
)
"""Every code that there is; they never change their meaning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong, or (`info`) worth knowing.

    `offset` is in bytes from the file's beginning. `meaning` says what is lost
    and what still works; `repair` what `--repair` does, None when that is nothing.
    """

    severity: Severity
    code: str
    path: str
    meaning: str
    offset: int | None = None
    repair: str | None = None
    worker_id: WorkerId | None = None

    def __post_init__(self) -> None:
        assert self.code in CODES

    @property
    def place(self) -> tuple[str, str, int | None]:
        """What makes it the same problem when it is looked for again."""
        return self.code, self.path, self.offset


@dataclass(slots=True)
class Exam:
    """What an examination found, and what would be done about it, in order."""

    problems: list[Problem] = field(default_factory=list)
    fixes: list[Fix] = field(default_factory=list)

    def tell(self, problem: Problem, *fixes: Fix) -> None:
        """One more problem, and what would be done about it."""
        self.problems.append(problem)
        self.fixes += fixes

    def add(self, other: Exam) -> None:
        """Take in what somebody else found."""
        self.problems += other.problems
        self.fixes += other.fixes

    @property
    def is_clean(self) -> bool:
        """Whether nothing is wrong; what is only worth knowing does not count."""
        return all(problem.severity == "info" for problem in self.problems)
