"""The observation feed's frames, version 1 (contract, "Observation feed").

An envelope is encoded once, when its event is appended; `event_frame` only
puts the same bytes between two constant pieces.

    {"kind":"event","envelope":{"cursor","event_id","worker_id","ts","payload"}}
    {"kind":"diagnostic","diagnostic":{"code","message"}}

`ts` (RFC 3339, µs) is ours.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Literal

from orjson import JSONDecodeError, dumps, loads
from pydantic import Field

from .base import Wire
from .cursor import Seq, encode_cursor
from .events import Event, Json
from .nul_runs import TEXT_CHARS_MIN, dumps_with_runs, has_nul_runs

ENVELOPE_SEQ = slice(14, 30)
"""Where an envelope, `{"cursor":"wo_0123456789abcdef",…`, has its sequence in 16 hex digits."""
_TS = b'"ts":"'
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Payload(Wire):
    """What was said."""

    event: str
    data: Json


class Envelope(Wire):
    """One event of one worker, with its place in the journal."""

    cursor: str
    event_id: str
    worker_id: str
    payload: Payload
    # ours:
    ts: str | None = None


class FeedDiagnosticCode(StrEnum):
    """Why a feed ends."""

    CURSOR_MALFORMED = "runtime.cursor_malformed"
    CURSOR_UNKNOWN_OR_EXPIRED = "runtime.cursor_unknown_or_expired"
    CURSOR_EXPIRED = "runtime.cursor_expired"
    WORKER_NOT_FOUND = "runtime.worker_not_found"
    OBSERVATION_ONLY = "runtime.observation_only"
    WEBSOCKET_ERROR = "runtime.websocket_error"
    UNAVAILABLE = "runtime.unavailable"
    UPSTREAM_CLOSED = "runtime.upstream_closed"
    SERIALIZE_FAILED = "runtime.serialize_failed"


class FeedDiagnostic(Wire):
    """A reason, for programs and for people."""

    code: FeedDiagnosticCode
    message: str


class EventFrame(Wire):
    """One event."""

    kind: Literal["event"] = "event"
    envelope: Envelope


class DiagnosticFrame(Wire):
    """Why the feed ends now. Always the last frame."""

    kind: Literal["diagnostic"] = "diagnostic"
    diagnostic: FeedDiagnostic


Frame = Annotated[EventFrame | DiagnosticFrame, Field(discriminator="kind")]


def encode_envelope(seq: int, worker_id: str, ts: str, event: Event) -> bytes:
    """The journal's line of an event, without a newline.

    Integers over 64 bits, which orjson refuses, are passed on exactly.

    Raises:
        TypeError: The data holds what JSON cannot say.
    """
    return fill_envelope(seq, envelope_middle(worker_id, ts), event)


def envelope_middle(worker_id: str, ts: str) -> bytes:
    """What the envelopes of one append share; ids and times need no escaping."""
    return f'","worker_id":"{worker_id}","ts":"{ts}","payload":{{"event":'.encode()


def fill_envelope(seq: int, middle: bytes, event: Event) -> bytes:
    """See `encode_envelope`. The line has its own size; an encoder's buffer would have 4 KiB."""
    name, data = event
    cursor = b"wo_%016x" % seq
    text = data.get("text")
    try:
        if isinstance(text, str) and len(text) >= TEXT_CHARS_MIN and has_nul_runs(text):
            said = dumps_with_runs(data)
        else:
            said = dumps(data)
    except TypeError as fault:  # orjson.JSONEncodeError is one.
        if "64-bit" not in str(fault):
            raise
        said = _with_large_integers(data)
    return b"".join(
        (b'{"cursor":"', cursor, b'","event_id":"', cursor, middle, dumps(name), b',"data":', said, b"}}")
    )


def envelope_seq(line: bytes) -> Seq:
    """The sequence of an envelope that `encode_envelope` made."""
    return Seq(int(line[ENVELOPE_SEQ], 16))


def envelope_time_us(line: bytes) -> int:
    """When an event was written, µs since 1970: its `ts`, as `envelope_middle` placed it.

    A sequence is no time: it runs ahead when the clock goes back, and in a burst.
    """
    begin = line.index(_TS) + len(_TS)
    moment = datetime.fromisoformat(line[begin : line.index(b'"', begin)].decode())
    return (moment - _EPOCH) // _MICROSECOND


def decode_event(line: bytes) -> Event:
    """The event of an envelope that `encode_envelope` made.

    Integers over 64 bits may come back as floats; who needs them exactly reads the line.
    """
    try:
        envelope = loads(line)
    except JSONDecodeError:  # An integer that is more than a float can be.
        envelope = json.loads(line)
    payload = envelope["payload"]
    return Event(payload["event"], payload["data"])


def encode_snapshot(seq: int, worker_id: str, ts: str, data: Json) -> bytes:
    """The envelope of a snapshot: no event of the journal, so its id says so."""
    cursor = encode_cursor(seq)
    return dumps(
        {
            "cursor": cursor,
            "event_id": f"snapshot:{cursor}",
            "worker_id": worker_id,
            "ts": ts,
            "payload": {"event": "snapshot", "data": data},
        }
    )


def _with_large_integers(data: Json) -> bytes:
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def event_frame(envelope: bytes) -> bytes:
    """The text frame of an envelope, with the very bytes of the journal."""
    return b'{"kind":"event","envelope":%b}' % envelope


def diagnostic_frame(code: FeedDiagnosticCode, message: str) -> bytes:
    """The text frame that ends a feed."""
    return dumps({"kind": "diagnostic", "diagnostic": {"code": code, "message": message}})
