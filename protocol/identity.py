"""Who a worker is: the pair of a runtime's id and a worker's id.

Display names, pids, sockets and paths are never authority. Ids are safe in a
URL and as a file name, and generated ones sort by the time of their creation.
Time and randomness come in as arguments.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator

from .base import ID_CHARS_MAX, Wire
from .errors import InvalidWorkerId

_ID = re.compile(r"[A-Za-z0-9._-]+\Z")
_BASE32: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_TIME_DIGITS: Final = 12
_RANDOM_DIGITS: Final = 8
RANDOM_BITS: Final = 5 * _RANDOM_DIGITS


def id_fault(text: str) -> str | None:
    """Why `text` can be no id, or None when it can."""
    if not text.strip():
        return "must not be blank"
    if len(text) > ID_CHARS_MAX:
        return f"has {len(text)} characters, and {ID_CHARS_MAX} is the most"
    if _ID.match(text) is None or text in {".", ".."}:
        return "may have letters, digits, '.', '_' and '-' alone, and must not be '.' or '..'"
    return None


def _checked_id(text: str) -> str:
    fault = id_fault(text)
    if fault is not None:
        raise ValueError(fault)
    return text


RuntimeId = Annotated[str, AfterValidator(_checked_id)]
WorkerId = Annotated[str, AfterValidator(_checked_id)]


class WorkerRef(Wire):
    """Authority over one worker: never less than both ids."""

    runtime_id: RuntimeId
    worker_id: WorkerId


def parse_worker_id(text: str) -> WorkerId:
    """The id that a path carries.

    Raises:
        InvalidWorkerId: Blank, too long, or with characters that no id has.
    """
    fault = id_fault(text)
    if fault is not None:
        raise InvalidWorkerId(text, fault)
    return text


def generated_id(prefix: str, time_us: int, random_bits: int) -> str:
    """A new id such as `wk-0c3v8xk4w2hq-7f3kq2mz`.

    `time_us` (µs since 1970) comes first, so that ids sort by creation;
    `random_bits` has `RANDOM_BITS` bits, so that two runtimes never agree.
    """
    return f"{prefix}-{_base32(time_us, _TIME_DIGITS)}-{_base32(random_bits, _RANDOM_DIGITS)}"


def _base32(number: int, digits: int) -> str:
    return "".join(_BASE32[(number >> (5 * place)) & 31] for place in reversed(range(digits)))
