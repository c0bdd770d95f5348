"""Repairs a runtime's directory: takes its lock, and does what the check says.

What is broken goes aside (`aside.py`) and nothing is deleted. A repair that was
killed is gone on with by the next one; where nothing is wrong, nothing is done.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from watchglass.store.numbering import ClockUs

from .aside import Aside
from .checking import check_runtime
from .files import Files
from .inspection import Companion, RuntimeCheck
from .layout import DirectoryLock, Layout

_ROUNDS = 4
"""A repair may bring to light what could not be seen before it."""


@dataclass(frozen=True, slots=True)
class Repair:
    """What was found first, what is left, and where the broken files are (None: none were moved)."""

    found: RuntimeCheck
    left: RuntimeCheck
    moved_to: str | None


def repair_runtime(
    path: Path, clock_us: ClockUs, *, companion: Companion | None = None, files: Files | None = None
) -> Repair:
    """Check and repair until nothing is left that can be repaired.

    Raises:
        StoreUnusable: Somebody has it open; the text says who.
        OSError: The disk refused something. Nothing is lost; the next repair goes on.
    """
    files = files or Files()
    layout = Layout(path)
    lock = DirectoryLock(layout, clock_us())
    try:
        aside = Aside(files, layout, clock_us())
        found = left = check_runtime(path, companion=companion, files=files, is_ours=True)
        for _ in range(_ROUNDS):
            if not left.exam.fixes:
                break
            for fix in left.exam.fixes:
                fix(aside)
            left = check_runtime(path, companion=companion, files=files, is_ours=True)
        return Repair(found, left, aside.directory if aside.is_used else None)
    finally:
        lock.release()
