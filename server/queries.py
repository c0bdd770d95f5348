"""What can be asked beside a path, by a query string or by the params of a session's command."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Final, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from watchglass.protocol.errors import InvalidQuery, InvalidRequest
from watchglass.protocol.lifecycle import Phase, WorkerStatus
from watchglass.protocol.tasks import TaskStatus

TRANSCRIPT_LIMIT_DEFAULT: Final = 256
TASKS_LIMIT_DEFAULT: Final = 256
WAIT_MS_MAX: Final = 60_000
IDEMPOTENCY_KEY_CHARS_MAX: Final = 255
_COUNT_MAX: Final = 1 << 53


class Query(BaseModel):
    """Base of the query parameters of an endpoint; unknown ones are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


Q = TypeVar("Q", bound=Query)
_DIGITS = re.compile(r"-?[0-9]+")


def _whole(value: object) -> object:
    """Pydantic would also take `1.0`, `1_000`, `+1`, ` 1`, and `true` for 1."""
    if isinstance(value, bool | float) or (isinstance(value, str) and not _DIGITS.fullmatch(value)):
        raise ValueError("use a whole number")
    return value


Whole = Annotated[int, BeforeValidator(_whole)]
"""A whole number, from a query string or from JSON."""


class WorkersQuery(Query):
    """Which workers, and how many of them; without parameters the whole list."""

    status: WorkerStatus | None = None
    phase: Phase | None = None
    label: list[str] = Field(
        default_factory=list, description="NAME=VALUE, a label of the control context; repeatable"
    )
    limit: Whole | None = Field(default=None, ge=1, le=_COUNT_MAX)
    after: str | None = Field(default=None, description="the worker id that the page before ended with")


class TranscriptQuery(Query):
    """Which entries; without `start`, from the oldest kept one."""

    start: Whole | None = Field(default=None, ge=0, le=_COUNT_MAX)
    limit: Whole | None = Field(default=None, ge=0, le=_COUNT_MAX)


class ObserversQuery(Query):
    """Whose observers; without it, all."""

    worker_id: str | None = None


class EventBatchQuery(Query):
    """Where to read on; without a cursor, from the oldest kept event."""

    cursor: str | None = Field(default=None, description="the next_cursor of the batch before, as JSON")
    limit: Whole | None = Field(default=None, ge=1, le=_COUNT_MAX)


class TasksQuery(Query):
    """Which tasks, and how many of them."""

    status: TaskStatus | None = None
    limit: Whole = Field(default=TASKS_LIMIT_DEFAULT, ge=1, le=_COUNT_MAX)
    after: str | None = Field(default=None, description="the task id that the page before ended with")


class StatusQuery(Query):
    """How long to wait for the task's end before answering."""

    wait_ms: Whole = Field(default=0, ge=0, le=WAIT_MS_MAX)


def checked_query(model: type[Q], given: Mapping[str, object]) -> Q:
    """What was given as a model. Raises InvalidQuery, which names the parameter at fault."""
    try:
        return model.model_validate(given)
    except ValidationError as fault:
        first = fault.errors(include_url=False)[0]
        name = str(first["loc"][0])
        raise InvalidQuery(name, _text(given[name]), _reason(first)) from None


def checked_idempotency_key(key: str | None) -> str | None:
    """The same key. Raises InvalidRequest."""
    if key is not None and (not key.strip() or len(key) > IDEMPOTENCY_KEY_CHARS_MAX):
        raise InvalidRequest(
            f"Idempotency-Key: use 1 to {IDEMPOTENCY_KEY_CHARS_MAX} characters, not all blank"
        )
    return key


_REASONS: Final[Mapping[str, str]] = {
    "int_parsing": "use a whole number",
    "int_parsing_size": "use a number of fewer digits",
    "greater_than_equal": "use {ge} or more",
    "less_than_equal": "use {le} or less",
    "enum": "use one of {expected}",
    "literal_error": "use one of {expected}",
}


def _reason(detail: ErrorDetails) -> str:
    """What to send instead, by the kind of what is wrong."""
    known = _REASONS.get(detail["type"])
    if known is not None:
        return known.format(**detail.get("ctx", {}))
    message = detail["msg"].removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
