"""Requests that cannot be understood, or ask for what is not there to be asked."""

from __future__ import annotations

from .base import RuntimeFault, cut, shown


class InvalidWorkerId(RuntimeFault):
    """The text can be no worker's id."""

    code = "invalid_worker_id"

    def __init__(self, value: str, reason: str) -> None:
        super().__init__(f"worker id {shown(value)} {reason}")
        self.value = value
        self.reason = reason


class InvalidRequest(RuntimeFault):
    """A well-formed request that says something it must not."""

    code = "invalid_request"


class InvalidJson(RuntimeFault):
    """The body is not JSON."""

    code = "invalid_json"


class InvalidQuery(RuntimeFault):
    """A query parameter is of the wrong form."""

    code = "invalid_query"

    def __init__(self, parameter: str, value: str, reason: str) -> None:
        super().__init__(f"query parameter {parameter}={shown(value)}: {reason}")
        self.parameter = parameter
        self.value = value
        self.reason = reason


class LimitTooLarge(RuntimeFault):
    """More was asked for at once than the runtime gives."""

    code = "limit_too_large"

    def __init__(self, parameter: str, asked: int, limit: int) -> None:
        super().__init__(
            f"{parameter} {asked} is over this runtime's maximum of {limit}; ask for {limit} or less"
        )
        self.parameter = parameter
        self.asked = asked
        self.limit = limit


class BodyTooLarge(RuntimeFault):
    """The request's body is over the bound."""

    code = "body_too_large"

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"the body is over {limit_bytes} bytes, the most that this endpoint takes")
        self.limit_bytes = limit_bytes


class RangeNotSatisfiable(RuntimeFault):
    """The asked bytes lie behind the end of the log."""

    code = "range_not_satisfiable"

    def __init__(self, asked: str, size_bytes: int) -> None:
        super().__init__(f"{asked} lies outside the log, which has {size_bytes} bytes")
        self.asked = asked
        self.size_bytes = size_bytes


class WrongRuntime(RuntimeFault):
    """A worker reference of another runtime."""

    code = "wrong_runtime"

    def __init__(self, asked: str, own: str) -> None:
        super().__init__(f"worker_ref names runtime {shown(asked)}, but this is runtime {own!r}")
        self.asked = asked
        self.own = own


class WrongRuntimeCursor(RuntimeFault):
    """A cursor of runtime events that another runtime gave out."""

    code = "wrong_runtime_cursor"

    def __init__(self, asked: str, own: str) -> None:
        super().__init__(f"cursor belongs to runtime {shown(asked)}, but this is runtime {own!r}")
        self.asked = asked
        self.own = own


class NotFound(RuntimeFault):
    """No endpoint has this path."""

    code = "not_found"

    def __init__(self, path: str) -> None:
        super().__init__(f"no endpoint {shown(path)}; /openapi.json lists them")
        self.path = path


class MethodNotAllowed(RuntimeFault):
    """The endpoint does not take this method."""

    code = "method_not_allowed"

    def __init__(self, method: str, path: str) -> None:
        super().__init__(f"{cut(path)} does not take {cut(method)}")
        self.method = method
        self.path = path


class UnknownMethod(RuntimeFault):
    """A session has no method of this name."""

    code = "unknown_method"

    def __init__(self, method: str) -> None:
        super().__init__(f"no method {shown(method)}; docs/session.md lists them")
        self.method = method


class NotOnSession(RuntimeFault):
    """What this would do cannot be said in one frame of JSON: it is done over HTTP, or by a subscription."""

    code = "not_on_session"

    def __init__(self, method: str, http_method: str, path: str) -> None:
        instead = f"{http_method} {path}"
        super().__init__(f"{method} is no method of a session; use {instead}, or subscribe to events")
        self.method = method
        self.http_method = http_method
        self.path = path
