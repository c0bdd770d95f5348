"""One request and what its answer means, without the connection that carries them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar
from urllib.parse import quote, urlencode

from .faults import ApiError, BadAnswer, Unreachable

A = TypeVar("A")
Json = dict[str, Any]
Query = Mapping[str, str | int | Sequence[str] | None]

ANSWER_BYTES_MAX: Final = 256 << 20
CONNECT_TIMEOUT_S: Final = 5.0
ANSWER_TIMEOUT_S: Final = 60.0
END_TIMEOUT_S: Final = 3660.0
"""Stop and cancel answer when the worker has ended: the longest grace, and a minute."""
UPLOAD_TIMEOUT_S: Final = 600.0
"""An upload is answered when the runtime has all of it on its disk."""
ARCHIVE_TYPE: Final = "application/x-tar"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; names of headers are in lower case."""

    status: int
    reason: str
    headers: Mapping[str, str]
    content: bytes

    @property
    def ok(self) -> bool:
        """Whether it is no refusal."""
        return 200 <= self.status < 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[A]):
    """A request that is ready to be sent.

    `repeatable`: doing it twice is doing it once, so it may be sent again when
    the connection broke before the answer.
    """

    method: str
    path: str
    read_answer: Callable[[Answer], A]
    query: Query = field(default_factory=dict)
    content: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = ANSWER_TIMEOUT_S
    repeatable: bool = False

    @property
    def target(self) -> str:
        """Path and query."""
        return self.path + query_text(self.query)

    def read(self, answer: Answer) -> A:
        """What was answered.

        Raises:
            ApiError: It is a refusal.
            BadAnswer: It is not what a runtime answers here.
        """
        if not answer.ok:
            raise api_error(answer)
        try:
            return self.read_answer(answer)
        except ValueError as fault:  # Pydantic's ValidationError is one; its text may show what is secret.
            raise BadAnswer(f"{self.method} {self.path} was not answered as a runtime does") from fault

    def may_repeat(self, fault: Unreachable, *, moved: bool) -> bool:
        """Whether to send it once more: what nobody has got goes to where the runtime is now."""
        return moved if fault.stage == "unsent" else fault.stage == "lost" and self.repeatable


def worker_path(worker_id: str, *rest: str) -> str:
    """The path of a worker, or of something of it."""
    return "/".join(["/v1/workers", quote(worker_id, safe=""), *rest])


def query_text(query: Query) -> str:
    """The query with its question mark; empty when nothing is asked."""
    asked = {name: value for name, value in query.items() if value is not None}
    return f"?{urlencode(asked, doseq=True)}" if asked else ""


def api_error(answer: Answer) -> ApiError:
    """The refusal that a body says, or one made of the status line alone."""
    said = decoded(answer.content)
    error = said.get("error") if said is not None else None
    after_s = _seconds(answer.headers.get("retry-after"))
    if said is not None and isinstance(error, dict) and isinstance(error.get("code"), str):
        message, details = str(error.get("message", error["code"])), error.get("details")
        beside = {name: fact for name, fact in said.items() if name not in {"kind", "error"}}
        facts = details if isinstance(details, dict) else beside
        return ApiError(answer.status, error["code"], message, after_s, facts)
    text = f"the runtime answered {answer.status} {answer.reason}".strip()
    return ApiError(answer.status, f"http_{answer.status}", text, after_s)


def decoded(content: bytes) -> Json | None:
    """The JSON object of a body, or None when it is none."""
    try:
        said = json.loads(content)
    except ValueError:
        return None
    return said if isinstance(said, dict) else None


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isascii() and text.isdigit() else None
