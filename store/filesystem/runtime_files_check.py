"""Checks what a runtime keeps of itself: runtime.json and the ceiling of its cursors."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import partial
from typing import Any, Final

from watchglass.protocol.cursor import Seq

from .ceiling import kept_ceiling
from .fixing import write_ceiling, write_runtime_json
from .inspection import Part
from .journals import Journal
from .layout import SCHEMA
from .problems import Exam, Problem

_SAID_SCHEMA: Final = re.compile(rb'"schema":\s*(\d{1,9})')


class RuntimeFilesCheck(Part):
    """The part of a check that looks at them."""

    def is_known(self) -> bool:
        """Look at runtime.json; whether the rest can be understood."""
        path = self._layout.runtime_json
        try:
            said = self._files.read_whole(path)
        except FileNotFoundError:
            self._tell_runtime("runtime_json_missing", "is missing")
            return True
        except OSError as fault:
            meaning = f"cannot be read: {fault.strerror}; nothing was checked"
            self._inspection.exam.tell(
                Problem(severity="error", code="unreadable", path=path, meaning=meaning)
            )
            return False
        self._found.schema, whose = _schema_and_runtime(said)
        if self._found.schema is not None and self._found.schema > SCHEMA:
            meaning = (
                f"is of schema {self._found.schema}, and this version of watchglass knows schema {SCHEMA}; "
                "use the newer version that wrote it; nothing was checked"
            )
            self._inspection.exam.tell(
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
        problem = Problem(
            severity="error" if stands else "warning",
            code=code,
            path=self._layout.runtime_json,
            meaning=f"{what}; no event is lost{'; ' if stands else ''}{stands}",
            repair="writes it again",
        )
        write_again = partial(write_runtime_json, self._layout.runtime_json, self._found.runtime_id)
        self._inspection.exam.tell(problem, write_again)

    def ceiling(self, journal: Journal, alerts: Iterable[Seq]) -> Exam:
        """It must lie above all that was read before. Raises OSError."""
        exam = Exam()
        path = self._layout.ceiling
        try:
            data: bytes | None = self._files.read_whole(path)
        except FileNotFoundError:
            data = None
        below = None if data is None else kept_ceiling(path, self._files)
        newest = Seq(max(self._inspection.newest, journal.newest))
        planned = Seq(max([newest, *self._heads.values(), *alerts]))
        if below is None and (newest or data is not None):
            word = "is missing" if data is None else "is not what was written"
            meaning = f"{word}; no event is lost; without a repair cursors run a minute ahead of the time"
            exam.tell(_bad_ceiling(path, "ceiling_unreadable", meaning))
        elif below is not None and below <= newest:
            meaning = (
                "lies below events that are there, as when an old copy was put in its place; no event is "
                "lost; cursors of lost events could be given out again"
            )
            exam.tell(_bad_ceiling(path, "ceiling_low", meaning))
        elif below is None or below > planned:
            return exam
        exam.fixes.append(partial(write_ceiling, path, planned))
        return exam


def _schema_and_runtime(said: bytes) -> tuple[int | None, object]:
    """What runtime.json says of itself; of a damaged one, its schema if it can still be read."""
    try:
        facts: Any = json.loads(said)
        return int(facts["schema"]), facts["runtime_id"]
    except (ValueError, KeyError, TypeError):
        schema = _SAID_SCHEMA.search(said)
        return (int(schema[1]) if schema else None), None


def _bad_ceiling(path: str, code: str, meaning: str) -> Problem:
    return Problem(severity="warning", code=code, path=path, meaning=meaning, repair="writes a safe one")
