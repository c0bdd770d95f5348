"""What a client of a runtime is told, or is not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal


class ClientFault(Exception):
    """Base of what these clients raise on purpose."""


class ApiError(ClientFault):
    """The runtime refused. Callers match on `code`; `status` is HTTP's.

    `retry_after_s`: when another try may help, if the runtime says so. `details`
    are the facts of a refusal below `/api/v1`, our own exacter code as `fault` among
    them, and what a reset says of a cursor that cannot be honoured (410).
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        retry_after_s: float | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s
        self.details = dict(details or {})


class Unreachable(ClientFault):
    """No runtime answered at this address.

    `stage` says how far it came: `unsent`, nothing of the request was sent;
    `lost`, the connection broke, and the request may have been carried out;
    `late`, there was no answer in time, and it may still be.
    """

    def __init__(self, url: str, reason: str, stage: Literal["unsent", "lost", "late"] = "lost") -> None:
        super().__init__(f"cannot reach the runtime at {url}: {reason}")
        self.url = url
        self.reason = reason
        self.stage = stage


class BadAnswer(ClientFault):
    """Something answered, but not as a runtime does."""


class NoRuntime(ClientFault):
    """No runtime of this user is running on this machine, or not the one that was asked for."""


class NoToken(ClientFault):
    """The token cannot be read, or cannot be sent."""


class NoTrust(ClientFault):
    """What says which certificates are trusted cannot be used."""
