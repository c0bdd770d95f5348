"""What a client of a runtime is told, or is not."""

from __future__ import annotations


class ClientFault(Exception):
    """Base of what these clients raise on purpose."""


class ApiError(ClientFault):
    """The runtime refused. Callers match on `code`; `status` is HTTP's."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


class Unreachable(ClientFault):
    """No runtime answered at this address."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"cannot reach the runtime at {url}: {reason}")
        self.url = url
        self.reason = reason


class BadAnswer(ClientFault):
    """Something answered, but not as a runtime does."""
