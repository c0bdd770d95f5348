"""One observer of one worker, without the socket (docs/feed.md), for both versions of the feed.

Pure: frames and losses in, events and waits out. Whoever drives it owns the
socket, the clock and the dice.

    connect with query(), SUBPROTOCOLS   opened(the subprotocol that the server chose)
    for each text frame                  take(frame)  → Joined | Told | Reset | Farewell, one after the other
    the connection is gone               lost(…)      → seconds until the next one, or `ended`

What it owes its reader: for any cut at any frame, the events told are the
worker's log after the first cursor, in order, each exactly once. What a feed
must never do (repeat, go back, leave out, speak of another worker) is no event
but a `FeedViolation`: silence would be worse.

Frames, and when they may come:

    version 1   event (a snapshot first, then the log) | diagnostic
    version 2   hello, then [reset] [snapshot] events sync bookmark … end | diagnostic
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any, Final, Literal

import orjson

from .cursor import BEGINNING, Seq, decode_cursor, encode_cursor
from .errors import CursorMalformed, shown
from .said import Farewell, FeedRefused, FeedViolation, Joined, Reset, Said, Told

Json = dict[str, Any]
OnExpired = Literal["close", "snapshot"]

EARLIEST: Final = "earliest"
LATEST: Final = "latest"
_COUNTED: Final = ("tail:", "time:")
"""Beginnings of the places that the runtime finds (version 2); it refuses what is malformed behind them."""

SUBPROTOCOL_V2: Final = "watchglass.feed.v2"

RETRYABLE: Final = frozenset(
    {
        "runtime.upstream_closed",
        "runtime.unavailable",
        "runtime.websocket_error",
        "runtime.store_unavailable",
        "runtime.stalled",
    }
)
"""Diagnostics after which the same cursor is good again; any other is final."""

WORKER_ENDED: Final = frozenset({"stopped", "cancelled", "succeeded", "failed", "lost"})
CLOSED_NORMALLY: Final = 1000

BACKOFF_FIRST_S: Final = 0.1
BACKOFF_MAX_S: Final = 5.0
RETRY_AFTER_MAX_S: Final = 60.0
"""The longest wait that a runtime may ask for."""
STEADY_S: Final = 10.0
"""A connection that lasted so long was a good one: the next wait is a first one again."""
GAPS_MAX: Final = 3
"""So many connections in a row may leave out the same event; then it is no accident."""


class Following:
    """Where one reader stands in one worker's log, over any number of connections."""

    def __init__(
        self,
        worker_id: str,
        after: str | None = None,
        *,
        types: Collection[str] = (),
        on_expired: OnExpired = "close",
    ) -> None:
        """Start after a cursor, at `earliest`, or at `latest` (None: the same).

        A feed of version 2 also takes `tail:<n>` and `time:<RFC 3339>`. With
        `types` events of these names alone are told; `on_expired` says whether
        a cursor that cannot be honoured ends the feed or resets the reader.

        Raises:
            CursorMalformed: `after` is none of these.
        """
        self._worker_id = worker_id
        self._types = frozenset(types)
        self._on_expired = on_expired
        self._asked = None if after == LATEST else after
        self._position = _position(self._asked)
        self._version: Literal[1, 2] = 1
        self._joined = False
        self._settled = False
        self._reset_due = False
        self._chain: Seq | None = None
        self._gaps = 0
        self._losses = 0
        self._retry_after_s = 0.0
        self.ended = False

    @property
    def worker_id(self) -> str:
        """Whose log this is."""
        return self._worker_id

    @property
    def version(self) -> Literal[1, 2]:
        """What the newest connection speaks."""
        return self._version

    @property
    def cursor(self) -> str | None:
        """Where to go on from: the last event that was given out; None: with what comes from then on."""
        return self._asked

    @property
    def settled(self) -> bool:
        """Whether the worker looked ended at the join, with nothing left to tell (version 1 alone).

        Its `end` may be just about to be written, so a driver waits a moment
        for a frame, and calls `lost(close_code=1000)` when none comes.
        """
        return self._settled

    def whose(self) -> dict[str, Any]:
        """What a `subscribe` of a session says of whom to tell."""
        return {"worker_id": self._worker_id}

    def query(self) -> dict[str, str]:
        """The query of the next connection; version 1 looks at `cursor` alone."""
        asked = {"cursor": LATEST if self._asked is None else self._asked}
        if self._types:
            asked["types"] = ",".join(sorted(self._types))
        if self._on_expired != "close":
            asked["on_expired"] = self._on_expired
        return asked

    def opened(self, subprotocol: str | None = None) -> None:
        """A new connection is there, with the subprotocol that the server chose."""
        self._version = 2 if subprotocol == SUBPROTOCOL_V2 else 1
        self._joined = False
        self._settled = False
        self._reset_due = False

    def take(self, frame: str | bytes) -> Iterator[Said | Farewell]:
        """What the next frame says, one thing after the other.

        The reader stands behind what it took of them, so whoever leaves in the
        middle comes back to the rest. After a `Farewell` the connection is of
        no more use.

        Raises (while it is read):
            FeedRefused: The feed is over, and not because the worker ended.
            FeedViolation: The frame breaks the feed's promises; of what is at fault nothing was taken.
        """
        yield from self.take_body(_object_of(frame))

    def take_body(self, body: Json) -> Iterator[Said | Farewell]:
        """The same of a frame that is parsed."""
        kind = body.get("kind")
        step = _STEPS[self._version].get(kind) if isinstance(kind, str) else None
        if step is None:
            raise FeedViolation("frame", f"a frame has the unknown kind {shown(kind)}")
        yield from step(self, body)

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
        wait_s = max(self._retry_after_s, backoff_s(self._losses, jitter))
        self._losses += 1
        self._retry_after_s = 0.0
        return wait_s

    def _event(self, body: Json) -> Iterator[Said]:
        """Version 1: a snapshot, or the next event."""
        envelope = _member(body, "envelope")
        seq, name, data = self._checked(envelope)
        if name == "snapshot":
            yield self._join(seq, data)
        else:
            yield from self._tell(seq, name, envelope, data)

    def _join(self, seq: Seq, data: Json) -> Joined:
        if self._joined:
            raise FeedViolation("order", f"a second snapshot came, at {encode_cursor(seq)}")
        as_of = _seq(data, "as_of") if "as_of" in data else seq
        word = _word(data, "phase" if "phase" in data else "status")
        self._joined = True
        if self._position is None:
            self._move(seq)
        self._settled = word in WORKER_ENDED and self._position is not None and as_of <= self._position
        return Joined(encode_cursor(seq), encode_cursor(as_of), word, data)

    def _hello(self, body: Json) -> Iterator[Said]:
        """Version 2: where this reader stands. A place other than the asked one must be owned up to."""
        if self._joined:
            raise FeedViolation("order", "a second hello came")
        self._check_worker(body)
        resumed = _seq(body, "resumed_from")
        asked_cursor = self._asked is not None and self._asked != EARLIEST and self._position is not None
        self._reset_due = asked_cursor and resumed != self._position
        if self._reset_due and self._on_expired == "close":
            raise FeedViolation("order", f"the feed resumed from {encode_cursor(resumed)}, not {self._asked}")
        if not self._reset_due and self._position in {None, BEGINNING}:
            self._begin(resumed)
        self._joined, self._chain = True, resumed
        return iter(())

    def _begin(self, seq: Seq) -> None:
        """Stand where the runtime says; what is before everything can only be asked for by its name."""
        self._position = seq
        if self._asked != EARLIEST:
            self._asked = EARLIEST if seq == BEGINNING else encode_cursor(seq)

    def _reset(self, body: Json) -> Iterator[Said]:
        self._check_joined("reset")
        if self._on_expired == "close":
            raise FeedViolation("order", "the feed was reset, and nobody had asked for that")
        head = _seq(body, "head")
        requested, oldest, reason = (str(body.get(name)) for name in ("requested", "oldest", "reason"))
        self._reset_due, self._chain = False, head
        self._move(head)
        yield Reset(encode_cursor(head), reason, requested, oldest, encode_cursor(head))

    def _snapshot(self, body: Json) -> Iterator[Said]:
        position = self._check_joined("snapshot")
        phase = self._phase_of(body)
        yield Joined(encode_cursor(position), encode_cursor(_seq(body, "as_of")), phase, body, version=2)

    def _phase_of(self, snapshot: Json) -> str | None:
        return _word(_member(snapshot, "worker"), "phase")

    def _events(self, body: Json) -> Iterator[Said | Farewell]:
        self._check_joined("events")
        envelopes = body.get("envelopes")
        if not isinstance(envelopes, list):
            raise FeedViolation("frame", "a frame of kind 'events' has no envelopes")
        for envelope in envelopes:
            seq, name, data = self._checked(envelope)
            if _seq(envelope, "prev") != self._chain:
                yield self._gap(seq, envelope)
                return
            self._chain = seq
            yield from self._tell(seq, name, envelope, data)

    def _gap(self, seq: Seq, envelope: Json) -> Farewell:
        """Something before this event did not come: go on where all was well, but not for ever."""
        self._gaps += 1
        if self._gaps >= GAPS_MAX:
            raise FeedViolation(
                "gap", f"event {encode_cursor(seq)} follows {envelope['prev']}, which never came"
            )
        return Farewell("gap", f"what comes before event {encode_cursor(seq)} did not come")

    def _stand(self, body: Json) -> Iterator[Said]:
        """`sync`, `bookmark` and `end`: everything up to the cursor was sent."""
        position = self._check_joined(body["kind"])
        seq = _seq(body, "cursor")
        if seq < position:
            raise FeedViolation(
                "order", f"{body['kind']} {body['cursor']} came after {encode_cursor(position)}"
            )
        if seq > position:
            self._move(seq)
        self.ended = self.ended or body["kind"] == "end"
        return iter(())

    def _tell(self, seq: Seq, name: str, envelope: Json, data: Json) -> Iterator[Told]:
        """The event, unless nobody wants its kind."""
        cursor, position = encode_cursor(seq), self._check_joined(f"event {encode_cursor(seq)}")
        if seq == position:
            raise FeedViolation("duplicate", f"event {cursor} came twice")
        if seq < position:
            raise FeedViolation("order", f"event {cursor} came after {encode_cursor(position)}")
        self._move(seq)
        self._settled = False
        self._losses = self._gaps = 0
        self.ended = self._is_end(name)
        if not self._types or name in self._types:
            yield Told(cursor, name, data, envelope)

    def _is_end(self, name: str) -> bool:
        return name == "end"

    def _diagnosed(self, body: Json) -> Iterator[Farewell]:
        said = _member(body, "diagnostic") if self._version == 1 else body
        code, message = str(said.get("code")), str(said.get("message", ""))
        if code not in RETRYABLE:
            details = said.get("details")
            raise FeedRefused(code, message, details if isinstance(details, dict) else None)
        after_ms = said.get("retry_after_ms")
        if isinstance(after_ms, int):
            self._retry_after_s = min(max(after_ms / 1000, 0.0), RETRY_AFTER_MAX_S)
        yield Farewell(code, message)

    def _move(self, seq: Seq) -> None:
        self._position, self._asked = seq, encode_cursor(seq)

    def _check_joined(self, what: str) -> Seq:
        """Where the reader stands. Raises FeedViolation: the feed has not begun as feeds do."""
        if not self._joined or (self._reset_due and what != "reset"):
            first = "snapshot" if self._version == 1 else "reset" if self._reset_due else "hello"
            raise FeedViolation("order", f"{what} came before the {first}")
        assert self._position is not None, "a join leaves a position"
        return self._position

    def _checked(self, envelope: object) -> tuple[Seq, str, Json]:
        if not isinstance(envelope, dict):
            raise FeedViolation("frame", "an event's envelope is no object")
        seq, payload = _seq(envelope, "cursor"), _member(envelope, "payload")
        name, data = payload.get("event"), payload.get("data")
        if not isinstance(name, str) or not isinstance(data, dict):
            raise FeedViolation("frame", f"the payload of event {envelope['cursor']} is malformed")
        self._check_worker(envelope)
        return seq, name, data

    def _check_worker(self, body: Json) -> None:
        worker_id = body.get("worker_id")
        if worker_id != self._worker_id:
            what = f"event {body['cursor']}" if "cursor" in body else "the feed"
            raise FeedViolation("foreign", f"{what} is of worker {shown(worker_id)}, not {self._worker_id!r}")


_Step = Callable[[Following, Json], Iterator[Said | Farewell]]
_STEPS: Final[dict[Literal[1, 2], dict[str, _Step]]] = {
    1: {"event": Following._event, "diagnostic": Following._diagnosed},
    2: {
        "hello": Following._hello,
        "reset": Following._reset,
        "snapshot": Following._snapshot,
        "events": Following._events,
        "sync": Following._stand,
        "bookmark": Following._stand,
        "end": Following._stand,
        "diagnostic": Following._diagnosed,
    },
}


def backoff_s(losses: int, jitter: float) -> float:
    """How long to wait after so many losses in a row: doubled each time, between half and all of it."""
    longest = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** min(losses, 16))
    return longest * (0.5 + 0.5 * jitter)


def _position(asked: str | None) -> Seq | None:
    if asked is None or asked.startswith(_COUNTED):
        return None
    return BEGINNING if asked == EARLIEST else decode_cursor(asked)


def _object_of(frame: str | bytes) -> Json:
    try:
        said = orjson.loads(frame)
    except orjson.JSONDecodeError as fault:
        raise FeedViolation("frame", f"a frame is not JSON: {fault}") from None
    if not isinstance(said, dict):
        raise FeedViolation("frame", "a frame is no object")
    return said


def _member(body: Json, name: str) -> Json:
    member = body.get(name)
    if not isinstance(member, dict):
        raise FeedViolation("frame", f"a frame has no {name}")
    return member


def _word(body: Json, name: str) -> str | None:
    word = body.get(name)
    if word is not None and not isinstance(word, str):
        raise FeedViolation("frame", f"{name}: {shown(word)} is no word")
    return word


def _seq(body: Json, name: str) -> Seq:
    text = body.get(name)
    try:
        return decode_cursor(text if isinstance(text, str) else repr(text))
    except CursorMalformed as fault:
        raise FeedViolation("frame", f"{name}: {fault}") from None
