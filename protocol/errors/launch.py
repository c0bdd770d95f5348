"""Workers whose program never ran."""

from __future__ import annotations

import errno
import os
from typing import Final

from .base import RuntimeFault, shown

SAID_CHARS_MAX = 400
"""Of what a tool of the host said, which is shown as it is."""


class LaunchFailed(RuntimeFault):
    """The worker's process could not be started; `uid` is whose rights count, when it is not the server's."""

    code = "launch_failed"

    def __init__(self, step: str, subject: str, error_number: int, *, uid: int | None = None) -> None:
        who = _who(uid)
        super().__init__(f"cannot start the worker: {step} {shown(subject)}{who}: {_why(error_number)}")
        self.step = step
        self.subject = subject
        self.error_number = error_number
        self.uid = uid


class SandboxSetupFailed(LaunchFailed):
    """The sandbox around the worker could not be made; `subject` is what refused, in its own words."""

    code = "sandbox_setup_failed"

    def __init__(self, step: str, subject: str, error_number: int, *, uid: int | None = None) -> None:
        super().__init__(step, subject, error_number, uid=uid)
        said = subject[:SAID_CHARS_MAX]
        self.args = (f"cannot start the worker: {step}{_who(uid)}: {said}; {_why(error_number)}",)


def _who(uid: int | None) -> str:
    return "" if uid is None else f" as user {uid}"


def _why(error_number: int) -> str:
    name = errno.errorcode.get(error_number, str(error_number))
    return f"{os.strerror(error_number)} ({name})"


LAUNCH_FAULTS: Final = frozenset({LaunchFailed.code, SandboxSetupFailed.code})
"""The reasons of a worker whose program never ran, though it was tried."""
