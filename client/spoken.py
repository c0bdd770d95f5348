"""Calls of the HTTP interface as commands of a session: its method's name, and params."""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import unquote

import orjson

from watchglass.protocol.session import METHODS

from .call import Answer, Call
from .faults import ApiError

Json = dict[str, Any]

_NAMES: Final = {route: name for name, route in METHODS.items()}
_WORKERS: Final = ["", "v1", "workers"]
_TASKS: Final = ["", "api", "v1", "tasks"]
_HEADERS: Final = {"idempotency-key": "idempotency_key", "x-execgo-owner": "owner"}
_ENVELOPE: Final = frozenset({"kind", "id", "status", "retry_after_s"})
_RESULT: Final = re.compile(rb'\{"kind":"response","id":(\d+),"status":(\d+),"result":')
"""How the runtime's answers begin; any other order of the members is understood too."""


def spoken(call: Call[Any]) -> tuple[str, Json]:
    """The method of a call and its params. Raises ApiError: it has none."""
    template, params = _template(call.path)
    method = _NAMES.get((call.method, template))  # type: ignore[call-overload]  # A route is such a pair.
    if method is None:
        raise ApiError(
            405, "not_on_session", f"{call.method} {call.path} is no command of a session; ask over HTTP"
        )
    params |= {name: value for name, value in call.query.items() if value is not None}
    params |= {
        _HEADERS[name.lower()]: value for name, value in call.headers.items() if name.lower() in _HEADERS
    }
    if call.content is not None:
        params |= orjson.loads(call.content)
    return method, params


def answered(frame: bytes) -> tuple[int, Answer] | None:
    """An answer without a refusal, as HTTP would bring it, and the id that it has; None: look closer."""
    match = _RESULT.match(frame)
    if match is None:
        return None
    content = frame[match.end() : -1]
    return int(match[1]), Answer(int(match[2]), "", {}, b"" if content == b"null" else content)


def answer_of(frame: Json) -> Answer:
    """A response as HTTP would bring it. Raises KeyError."""
    after_s = frame.get("retry_after_s")
    headers = {} if after_s is None else {"retry-after": str(after_s)}
    if "error" in frame:
        body = {name: fact for name, fact in frame.items() if name not in _ENVELOPE}
        return Answer(frame["status"], "", headers, orjson.dumps(body))
    result = frame["result"]
    return Answer(frame["status"], "", headers, b"" if result is None else orjson.dumps(result))


def _template(path: str) -> tuple[str, Json]:
    """A path with a name where it has an id, and the id."""
    parts = path.split("/")
    for before, name in ((_WORKERS, "worker_id"), (_TASKS, "task_id")):
        at = len(before)
        if len(parts) > at and parts[:at] == before:
            found = unquote(parts[at])
            parts[at] = f"{{{name}}}"
            return "/".join(parts), {name: found}
    return path, {}
