"""A refusal in the shape of the contract that a path belongs to."""

from __future__ import annotations

from watchglass.protocol.errors import RuntimeFault

from . import tasks_errors
from .errors import error_answer


def refusal(fault: RuntimeFault, path: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body."""
    return tasks_errors.error_answer(fault) if tasks_errors.is_ours(path) else error_answer(fault)
