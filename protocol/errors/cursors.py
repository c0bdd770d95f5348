"""Positions that nothing can be read from."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from .base import RuntimeFault, shown

LossReason = Literal["retention", "generation", "ahead"]
"""Why a cursor cannot be honoured: dropped; no event of this log, as one that a crash lost; yet to come."""


class CursorFault(RuntimeFault):
    """Base of the cursors that a feed cannot resume from."""


class CursorMalformed(CursorFault):
    """The text is no cursor. `kept`: the oldest and the newest one of the log that was asked for."""

    code = "cursor_malformed"
    kept: tuple[str, str] | None = None

    def __init__(self, value: str) -> None:
        super().__init__(
            f"cursor {shown(value)} is malformed: a cursor is 'wo_' and 16 lower-case hex digits"
        )
        self.value = value

    def beside(self, oldest: str, newest: str) -> Self:
        """The same, naming what there is in the log that was asked for."""
        self.kept = oldest, newest
        self.args = (
            f"{self}, or 'earliest' or 'latest'; the oldest kept cursor is {oldest}, the newest is {newest}",
        )
        return self


class CursorLost(CursorFault):
    """Base of those that were good once, or look so.

    `worker_id`: of whom retention dropped something, where the logs of several are read as one.
    """

    worker_id: str | None = None

    def of(self, worker_id: str | None) -> Self:
        """The same, naming whose log it was; None: the runtime's own."""
        whose = "the runtime's own log" if worker_id is None else f"the log of worker {worker_id!r}"
        self.worker_id = "runtime" if worker_id is None else worker_id
        self.args = (f"{self}; it was {whose}",)
        return self


class CursorUnknown(CursorLost):
    """No event of this worker that is still kept has this cursor."""

    code = "cursor_unknown_or_expired"

    loss: LossReason = "generation"
    """The reason as a program reads it; whoever finds it says so."""

    def __init__(self, reason: str, asked: str, oldest: str, newest: str) -> None:
        super().__init__(
            f"cursor {asked} {reason}; the oldest kept cursor is {oldest}, the newest is {newest}"
        )
        self.reason = reason
        self.asked = asked
        self.oldest = oldest
        self.newest = newest


class CursorExpired(CursorLost):
    """Retention overtook a reader while it was reading."""

    code = "cursor_expired"
    loss: ClassVar[LossReason] = "retention"

    def __init__(self, asked: str, oldest: str, newest: str) -> None:
        super().__init__(
            f"events after {asked} were dropped by retention before this reader took them; "
            f"the oldest kept cursor is {oldest}, the newest is {newest}"
        )
        self.asked = asked
        self.oldest = oldest
        self.newest = newest


class TranscriptExpired(RuntimeFault):
    """The asked transcript entries are no longer kept."""

    code = "transcript_expired"

    def __init__(self, start: int, oldest: int) -> None:
        super().__init__(f"transcript entries before {oldest} are no longer kept, and {start} was asked for")
        self.start = start
        self.oldest = oldest
