"""A refusal in the shape of the contract that a path belongs to."""

from __future__ import annotations

from watchglass.protocol.errors import MethodNotAllowed, RuntimeFault

from . import tasks_errors
from .errors import error_answer
from .events_path import ALL_EVENTS_ROUTE


def refusal(fault: RuntimeFault, path: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body."""
    if tasks_errors.is_ours(path):
        return tasks_errors.error_answer(fault)
    status, headers, content = error_answer(fault)
    if isinstance(fault, MethodNotAllowed) and path == ALL_EVENTS_ROUTE:
        headers = {**headers, "allow": "GET"}
    return status, headers, content
