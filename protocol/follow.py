"""One observer of one worker, without the socket (feed version 1; docs/feed.md).

Pure: frames and losses in, events and waits out. Whoever drives it owns the
socket, the clock and the dice.

    connect with ?cursor=<cursor>      opened()
    for each text frame                take(frame)  → Joined | Told | Farewell
    the connection is gone             lost(…)      → seconds until the next one, or `ended`

What it owes its reader: for any cut at any frame, the events told are the
worker's log after the first cursor, in order, each exactly once. What a feed
must never do (repeat, go back, speak of another worker) is no event but a
`FeedViolation`: silence would be worse.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

import orjson

from .cursor import BEGINNING, Seq, decode_cursor, encode_cursor
from .errors import CursorMalformed, shown

Json = dict[str, Any]

EARLIEST: Final = "earliest"
LATEST: Final = "latest"

RETRYABLE: Final = frozenset({"runtime.upstream_closed", "runtime.unavailable", "runtime.websocket_error"})
"""Diagnostics after which the same cursor is good again; any other is final."""

WORKER_ENDED: Final = frozenset({"stopped", "cancelled", "succeeded", "failed", "lost"})
CLOSED_NORMALLY: Final = 1000

BACKOFF_FIRST_S: Final = 0.1
BACKOFF_MAX_S: Final = 5.0
STEADY_S: Final = 10.0
"""A connection that lasted so long was a good one: the next wait is a first one again."""


@dataclass(frozen=True, slots=True)
class Joined:
    """The first frame of a connection: the worker as a whole. No event of the log."""

    kind: ClassVar[Literal["joined"]] = "joined"
    cursor: str
    data: Json
    envelope: Json


@dataclass(frozen=True, slots=True)
class Told:
    """The next event of the log."""

    kind: ClassVar[Literal["told"]] = "told"
    cursor: str
    name: str
    data: Json
    envelope: Json


@dataclass(frozen=True, slots=True)
class Farewell:
    """The server closes, and the same cursor is good at the next connection."""

    code: str
    message: str


class FeedRefused(Exception):
    """The feed ended with a diagnostic that coming back would not change."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class FeedViolation(Exception):
    """A feed did what feeds promise never to do."""

    def __init__(self, kind: Literal["duplicate", "order", "foreign", "frame"], message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Following:
    """Where one reader stands in one worker's log, over any number of connections."""

    def __init__(self, worker_id: str, cursor: str | None = None) -> None:
        """Start after `cursor`: a cursor, `earliest`, or `latest` (None: the same).

        Raises:
            CursorMalformed: It is none of these.
        """
        self._worker_id = worker_id
        self._asked = None if cursor == LATEST else cursor
        self._position = _position(self._asked)
        self._joined = False
        self._settled = False
        self._losses = 0
        self.ended = False

    @property
    def cursor(self) -> str | None:
        """What to ask for at the next connection; None asks for what comes from then on."""
        return self._asked

    @property
    def settled(self) -> bool:
        """Whether the worker looked ended at the join, with nothing left to tell.

        Its `end` may be just about to be written, so a driver waits a moment
        for a frame, and calls `lost(close_code=1000)` when none comes.
        """
        return self._settled

    def opened(self) -> None:
        """A new connection is there; its first frame must be a snapshot or a diagnostic."""
        self._joined = False
        self._settled = False

    def take(self, frame: str | bytes) -> Joined | Told | Farewell:
        """What the next frame says.

        Raises:
            FeedRefused: The feed is over, and not because the worker ended.
            FeedViolation: The frame breaks the feed's promises; nothing was taken.
        """
        kind, body = _parsed(frame)
        if kind == "diagnostic":
            return _diagnosed(body)
        seq, name, data = self._checked(body)
        if name == "snapshot":
            return self._join(seq, body, data)
        return self._tell(seq, name, body, data)

    def lost(self, *, jitter: float, lasted_s: float = 0.0, close_code: int | None = None) -> float:
        """The connection is gone, or was none: the seconds to wait before the next one.

        `jitter` is from 0 to 1, `lasted_s` how long the connection was open. A
        worker that had ended at the join, and whose feed the server then closed
        normally, has nothing more to say: `ended` is set.
        """
        if self._settled and close_code == CLOSED_NORMALLY:
            self.ended = True
        if lasted_s >= STEADY_S:
            self._losses = 0
        wait_s = backoff_s(self._losses, jitter)
        self._losses += 1
        return wait_s

    def _join(self, seq: Seq, body: Json, data: Json) -> Joined:
        if self._joined:
            raise FeedViolation("order", f"a second snapshot came, at {encode_cursor(seq)}")
        self._joined = True
        if self._position is None:
            self._position, self._asked = seq, encode_cursor(seq)
        head = _as_of(data, default=seq)
        word = data.get("phase", data.get("status"))
        self._settled = word in WORKER_ENDED and head <= self._position
        return Joined(encode_cursor(seq), data, body)

    def _tell(self, seq: Seq, name: str, body: Json, data: Json) -> Told:
        if not self._joined:
            raise FeedViolation("order", f"event {encode_cursor(seq)} came before the snapshot")
        position = self._position
        assert position is not None, "a join leaves a position"
        cursor = encode_cursor(seq)
        if seq == position:
            raise FeedViolation("duplicate", f"event {cursor} came twice")
        if seq < position:
            raise FeedViolation("order", f"event {cursor} came after {encode_cursor(position)}")
        self._position, self._asked = seq, cursor
        self._settled = False
        self._losses = 0
        self.ended = name == "end"
        return Told(cursor, name, data, body)

    def _checked(self, body: Json) -> tuple[Seq, str, Json]:
        try:
            seq = decode_cursor(body["cursor"])
            worker_id, payload = body["worker_id"], body["payload"]
            name, data = payload["event"], payload["data"]
        except (KeyError, TypeError, CursorMalformed) as fault:
            raise FeedViolation("frame", f"an event's envelope is malformed: {fault}") from None
        if not isinstance(name, str) or not isinstance(data, dict):
            raise FeedViolation("frame", f"the payload of event {body['cursor']} is malformed")
        if worker_id != self._worker_id:
            raise FeedViolation(
                "foreign", f"event {body['cursor']} is of worker {shown(worker_id)}, not {self._worker_id!r}"
            )
        return seq, name, data


def backoff_s(losses: int, jitter: float) -> float:
    """How long to wait after so many losses in a row: doubled each time, between half and all of it."""
    longest = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** min(losses, 16))
    return longest * (0.5 + 0.5 * jitter)


def _position(asked: str | None) -> Seq | None:
    if asked is None:
        return None
    return BEGINNING if asked == EARLIEST else decode_cursor(asked)


def _as_of(data: Json, *, default: Seq) -> Seq:
    as_of = data.get("as_of")
    try:
        return decode_cursor(as_of) if isinstance(as_of, str) else default
    except CursorMalformed as fault:
        raise FeedViolation("frame", f"a snapshot's as_of is malformed: {fault}") from None


def _parsed(frame: str | bytes) -> tuple[Literal["event", "diagnostic"], Json]:
    try:
        said = orjson.loads(frame)
    except orjson.JSONDecodeError as fault:
        raise FeedViolation("frame", f"a frame is not JSON: {fault}") from None
    kind = said.get("kind") if isinstance(said, dict) else None
    if kind == "event":
        body = said.get("envelope")
    elif kind == "diagnostic":
        body = said.get("diagnostic")
    else:
        raise FeedViolation("frame", f"a frame has the unknown kind {shown(kind)}")
    if not isinstance(body, dict):
        raise FeedViolation("frame", f"a frame of kind {kind!r} has no body")
    return kind, body


def _diagnosed(body: Json) -> Farewell:
    code, message = str(body.get("code")), str(body.get("message", ""))
    if code in RETRYABLE:
        return Farewell(code, message)
    raise FeedRefused(code, message)
