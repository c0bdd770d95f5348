"""What one reader of a feed is told, in either version of it (docs/feed.md).

Joined      a connection's first word: the worker as a whole, no event of the log
Told        the next event of the log
Reset       the log behind the reader's cursor is gone, and it asked to go on all the same
Farewell    the server closes; the same cursor is good at the next connection
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

if TYPE_CHECKING:
    from .events import Shape

Json = dict[str, Any]

Violation = Literal["duplicate", "order", "foreign", "frame", "gap"]


@dataclass(frozen=True, slots=True)
class Joined:
    """The worker as of `as_of`; what the log has after `cursor` follows. No event of the log.

    `data` is the snapshot as it came: the contract's payload in version 1, the
    frame in version 2, where a returning reader may get none.
    """

    kind: ClassVar[Literal["joined"]] = "joined"
    cursor: str
    as_of: str
    phase: str | None
    data: Json
    version: Literal[1, 2] = 1


@dataclass(frozen=True, slots=True)
class Told:
    """The next event of the log."""

    kind: ClassVar[Literal["told"]] = "told"
    cursor: str
    name: str
    data: Json
    envelope: Json

    @property
    def worker_id(self) -> str | None:
        """Whose event it is; `runtime` for the runtime's own."""
        worker_id = self.envelope.get("worker_id")
        return worker_id if isinstance(worker_id, str) else None

    @property
    def ts(self) -> str | None:
        """When it was journalled (RFC 3339, µs), if the runtime says so."""
        ts = self.envelope.get("ts")
        return ts if isinstance(ts, str) else None

    def shaped(self) -> Shape | None:
        """The data as the model of this event, of `protocol.events`; None for a name that is an agent's own.

        Raises:
            pydantic.ValidationError: The data has another shape.
        """
        from .events import SHAPES

        shape = SHAPES.get(self.name)
        return None if shape is None else shape.model_validate(self.data)


@dataclass(frozen=True, slots=True)
class Reset:
    """Events between `requested` and `head` are lost to this reader, who goes on after `head`."""

    kind: ClassVar[Literal["reset"]] = "reset"
    cursor: str
    reason: str
    requested: str
    oldest: str
    head: str


@dataclass(frozen=True, slots=True)
class Farewell:
    """The server closes, and the same cursor is good at the next connection."""

    kind: ClassVar[Literal["farewell"]] = "farewell"
    code: str
    message: str


Said = Joined | Told | Reset


EXPIRED: Final = frozenset({"runtime.cursor_unknown_or_expired", "runtime.cursor_expired"})
"""Diagnostics that say: what follows the reader's cursor is gone, or never was."""


class FeedRefused(Exception):
    """The feed ended with a diagnostic that coming back would not change.

    `details` are its facts, which version 2 alone has: of a cursor that cannot
    be honoured `reason`, `requested`, `oldest` and `head`.
    """

    def __init__(self, code: str, message: str, details: Json | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details or {}

    @property
    def is_loss(self) -> bool:
        """Whether it is the cursor that cannot be honoured: another one can."""
        return self.code in EXPIRED


class FeedViolation(Exception):
    """A feed did what feeds promise never to do."""

    def __init__(self, kind: Violation, message: str) -> None:
        super().__init__(message)
        self.kind = kind
