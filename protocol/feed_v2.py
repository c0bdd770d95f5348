"""The observation feed's frames, version 2: WebSocket subprotocol `watchglass.feed.v2` (docs/feed.md).

    hello → [reset] → [snapshot] → events … → sync → events | bookmark … → end | diagnostic

An envelope here is the journal's line with one member more at its end, put
there by cutting: `…,"prev":"wo_…"}`. It is the cursor of the event that this
reader was sent before, under its filter; for the first one, where it resumed.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple

from orjson import JSONDecodeError, loads
from pydantic import Field

from .base import Wire
from .errors import LossReason
from .frames import Envelope
from .workers import WorkerDetail

if TYPE_CHECKING:
    from .all_workers import AllHello, AllSnapshot

SUBPROTOCOL: Final = "watchglass.feed.v2"
RETRY_AFTER_MS_MIN: Final = 250
RETRY_AFTER_MS_MAX: Final = 2000
PING_BYTES_MAX: Final = 128
"""A client says `{"kind":"ping"}`, white space allowed, and nothing else."""

_CURSOR = slice(11, 30)
_EVENTS = {
    True: b'{"kind":"events","replay":true,"envelopes":[',
    False: b'{"kind":"events","replay":false,"envelopes":[',
}


class EnvelopeV2(Envelope):
    """One event, and the one that this reader was sent before it."""

    prev: str


class FeedFilter(Wire):
    """What of the log a connection asked for; `types` null: every event."""

    types: list[str] | None


class FeedRetention(Wire):
    """How much of a worker's log is kept."""

    max_bytes: int
    max_events: int
    max_age_s: int | None


class Hello(Wire):
    """Always first: where this reader stands. `replay_count` is of the log's events, filtered or not."""

    kind: Literal["hello"] = "hello"
    as_of: str
    requested: str
    resumed_from: str
    oldest: str
    replay_count: int
    retention: FeedRetention
    filter: FeedFilter
    heartbeat_s: float
    durability: Literal["none", "os", "fsync"]
    runtime_id: str
    worker_id: str
    server_version: str


class OpenToolCall(Wire):
    """A tool call that is not done; `arguments` is what came of its JSON text."""

    id: str
    name: str
    arguments: str


class Open(Wire):
    """What has begun and is not done, accumulated."""

    text: str | None
    tool_calls: list[OpenToolCall]


class SnapshotFrame(Wire):
    """The worker at `as_of`."""

    kind: Literal["snapshot"] = "snapshot"
    as_of: str
    worker: WorkerDetail
    open: Open
    transcript_len: int


class EventsFrame(Wire):
    """One to many events; `replay` while they are at or before `as_of`. See `events_text`."""

    kind: Literal["events"] = "events"
    replay: bool
    envelopes: list[EnvelopeV2]


class Sync(Wire):
    """Exactly once: everything up to `cursor` has been sent."""

    kind: Literal["sync"] = "sync"
    cursor: str


class Bookmark(Wire):
    """A position without an event: resuming from it misses nothing."""

    kind: Literal["bookmark"] = "bookmark"
    cursor: str


class Reset(Wire):
    """The cursor cannot be honoured: a snapshot as of `head` follows, then what comes after that."""

    kind: Literal["reset"] = "reset"
    reason: LossReason
    requested: str
    oldest: str
    head: str


class End(Wire):
    """The worker has ended and its log is complete."""

    kind: Literal["end"] = "end"
    cursor: str


class DiagnosticCode(StrEnum):
    """Why a feed ends: version 1's reasons, and ours."""

    CURSOR_MALFORMED = "runtime.cursor_malformed"
    CURSOR_UNKNOWN_OR_EXPIRED = "runtime.cursor_unknown_or_expired"
    CURSOR_EXPIRED = "runtime.cursor_expired"
    WORKER_NOT_FOUND = "runtime.worker_not_found"
    OBSERVATION_ONLY = "runtime.observation_only"
    WEBSOCKET_ERROR = "runtime.websocket_error"
    UNAVAILABLE = "runtime.unavailable"
    UPSTREAM_CLOSED = "runtime.upstream_closed"
    SERIALIZE_FAILED = "runtime.serialize_failed"
    # ours:
    QUERY_MALFORMED = "runtime.query_malformed"
    STORE_UNAVAILABLE = "runtime.store_unavailable"
    STALLED = "runtime.stalled"
    UNAUTHORIZED = "runtime.unauthorized"
    FORBIDDEN = "runtime.forbidden"


class Diagnostic(Wire):
    """Why the feed ends; `retry_after_ms` when coming back later may help."""

    kind: Literal["diagnostic"] = "diagnostic"
    code: DiagnosticCode
    message: str
    details: dict[str, Any] = Field(default_factory=dict)
    retry_after_ms: int | None = None


class EventsAnswer(Wire):
    """What a long poll is answered with; `next` is the cursor to ask with next."""

    events: list[EnvelopeV2]
    next: str
    head: str
    oldest: str
    up_to_date: bool
    ended: bool


Control = Hello | SnapshotFrame | Sync | Bookmark | Reset | End | Diagnostic
FrameV2 = Annotated[
    Hello | SnapshotFrame | EventsFrame | Sync | Bookmark | Reset | End | Diagnostic,
    Field(discriminator="kind"),
]


class CloseCode(IntEnum):
    """With what a feed of version 2 is closed."""

    ENDED = 1000
    RESTARTING = 1012
    MALFORMED = 4400
    UNAUTHORIZED = 4401
    FORBIDDEN = 4403
    NO_SUCH_WORKER = 4404
    STALLED = 4408
    EXPIRED = 4410
    TOO_MANY_OBSERVERS = 4429
    STORE_UNAVAILABLE = 4503


class ComingBack(NamedTuple):
    """What a close means for the observer: may it come back, and with the same cursor?"""

    allowed: bool
    same_cursor: bool


COMING_BACK: Final[dict[CloseCode, ComingBack]] = {
    CloseCode.ENDED: ComingBack(allowed=False, same_cursor=True),
    CloseCode.RESTARTING: ComingBack(allowed=True, same_cursor=True),
    CloseCode.MALFORMED: ComingBack(allowed=False, same_cursor=False),
    CloseCode.UNAUTHORIZED: ComingBack(allowed=False, same_cursor=True),
    CloseCode.FORBIDDEN: ComingBack(allowed=False, same_cursor=True),
    CloseCode.NO_SUCH_WORKER: ComingBack(allowed=False, same_cursor=False),
    CloseCode.STALLED: ComingBack(allowed=True, same_cursor=True),
    CloseCode.EXPIRED: ComingBack(allowed=True, same_cursor=False),
    CloseCode.TOO_MANY_OBSERVERS: ComingBack(allowed=True, same_cursor=True),
    CloseCode.STORE_UNAVAILABLE: ComingBack(allowed=True, same_cursor=True),
}

CLOSES: Final[dict[DiagnosticCode, CloseCode]] = {
    DiagnosticCode.CURSOR_MALFORMED: CloseCode.MALFORMED,
    DiagnosticCode.QUERY_MALFORMED: CloseCode.MALFORMED,
    DiagnosticCode.OBSERVATION_ONLY: CloseCode.MALFORMED,
    DiagnosticCode.WEBSOCKET_ERROR: CloseCode.MALFORMED,
    DiagnosticCode.CURSOR_UNKNOWN_OR_EXPIRED: CloseCode.EXPIRED,
    DiagnosticCode.CURSOR_EXPIRED: CloseCode.EXPIRED,
    DiagnosticCode.WORKER_NOT_FOUND: CloseCode.NO_SUCH_WORKER,
    DiagnosticCode.STALLED: CloseCode.STALLED,
    DiagnosticCode.UPSTREAM_CLOSED: CloseCode.RESTARTING,
    DiagnosticCode.UNAVAILABLE: CloseCode.STORE_UNAVAILABLE,
    DiagnosticCode.STORE_UNAVAILABLE: CloseCode.STORE_UNAVAILABLE,
    DiagnosticCode.SERIALIZE_FAILED: CloseCode.STORE_UNAVAILABLE,
    DiagnosticCode.UNAUTHORIZED: CloseCode.UNAUTHORIZED,
    DiagnosticCode.FORBIDDEN: CloseCode.FORBIDDEN,
}


def is_ping(text: str) -> bool:
    """Whether this is the one thing that a client may say."""
    try:
        said = loads(text)
    except JSONDecodeError:
        return False
    return isinstance(said, dict) and said.get("kind") == "ping"


def retry_after_ms(dice: float) -> int:
    """When to come back to a server that restarts, spread out; `dice` is from 0 to 1."""
    return RETRY_AFTER_MS_MIN + round(dice * (RETRY_AFTER_MS_MAX - RETRY_AFTER_MS_MIN))


def encode_control(frame: Control | AllHello | AllSnapshot) -> bytes:
    """The text of a frame that is no `events`; what is not said is left out of a diagnostic."""
    if isinstance(frame, Diagnostic) and frame.retry_after_ms is None:
        return frame.model_dump_json(exclude={"retry_after_ms"}).encode()
    return frame.model_dump_json().encode()


def envelopes_after(prev: bytes, lines: Sequence[bytes]) -> list[bytes]:
    """Envelopes with their `prev`: each has the cursor of the one before it, the first this one."""
    before = [prev, *[line[_CURSOR] for line in lines[:-1]]]
    return [b'%b,"prev":"%b"}' % (line[:-1], cursor) for line, cursor in zip(lines, before, strict=True)]


def cursor_of(line: bytes) -> bytes:
    """The cursor of an envelope."""
    return line[_CURSOR]


def events_text(prev: bytes, lines: Sequence[bytes], *, replay: bool) -> bytes:
    """The text of an `events` frame; at least one event."""
    return _EVENTS[replay] + b",".join(envelopes_after(prev, lines)) + b"]}"
