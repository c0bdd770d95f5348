"""A journal's lines from elsewhere: each must be what this runtime would have written. Pure.

An observer gets these very bytes, and views fold them, so nothing else may pass.
"""

from __future__ import annotations

import json
from typing import Any, Final

import orjson

from watchglass.protocol.cursor import Seq, decode_cursor, encode_cursor
from watchglass.protocol.errors import ArchiveInvalid, CursorMalformed, shown
from watchglass.protocol.events import Event, shape_fault
from watchglass.protocol.identity import WorkerId

from .members import EVENTS

LINE_BYTES_MAX: Final = 8 << 20
AHEAD_US_MAX: Final = 24 * 3600 * 1_000_000
"""How far ahead of our clock a cursor may lie: what is numbered here later must lie behind it."""
_HEX: Final = slice(len('{"cursor":"wo_'), len('{"cursor":"wo_') + 16)


class JournalCheck:
    """Looks at the bytes of `events.jsonl`, piece by piece."""

    def __init__(self, worker_id: WorkerId, trimmed_through: Seq, now_us: int) -> None:
        self._worker_id = worker_id
        self._last = trimmed_through
        self._seq_max = now_us + AHEAD_US_MAX
        self._held = b""
        self.count = 0

    def feed(self, data: bytes) -> None:
        """The next bytes. Raises ArchiveInvalid, which names the line."""
        *lines, self._held = (self._held + data).split(b"\n")
        for line in lines:
            self._check(line)
        if len(self._held) > LINE_BYTES_MAX:
            raise self._refused(f"is over {LINE_BYTES_MAX} bytes")

    def finish(self) -> None:
        """It ends here. Raises ArchiveInvalid."""
        if self._held:
            raise self._refused("has no newline at its end")
        if not self.count:
            raise ArchiveInvalid(EVENTS, "has no event, and every journal ends with one")

    def _check(self, line: bytes) -> None:
        try:
            envelope = orjson.loads(line)
        except orjson.JSONDecodeError as fault:
            raise self._refused(f"is not JSON: {fault}") from None
        seq = self._seq_of(envelope)
        cursor = encode_cursor(seq).encode()
        begins = b'{"cursor":"%b","event_id":"%b","worker_id":"%b",' % (
            cursor,
            cursor,
            self._worker_id.encode(),
        )
        if not line.startswith(begins):
            raise self._refused(self._unlike(envelope))
        self._check_said(line, envelope)
        if seq <= self._last:
            raise self._refused(f"has the cursor {encode_cursor(seq)}, after {encode_cursor(self._last)}")
        if seq > self._seq_max:
            raise self._refused(
                f"has the cursor {encode_cursor(seq)}, over a day ahead of this machine's clock"
            )
        self._last = seq
        self.count += 1

    def _seq_of(self, envelope: Any) -> Seq:
        cursor = envelope.get("cursor") if isinstance(envelope, dict) else None
        if not isinstance(cursor, str):
            raise self._refused("is no envelope: it has no cursor")
        try:
            return decode_cursor(cursor)
        except CursorMalformed as fault:
            raise self._refused(str(fault)) from None

    def _unlike(self, envelope: dict[str, Any]) -> str:
        """Why its beginning is another one."""
        worker_id = envelope.get("worker_id")
        if isinstance(worker_id, str) and worker_id != self._worker_id:
            return f"is an event of worker {shown(worker_id)}, not of {self._worker_id!r}"
        return "is no envelope as a journal has it: cursor, event_id and worker_id stand first, and agree"

    def _check_said(self, line: bytes, envelope: dict[str, Any]) -> None:
        payload = envelope.get("payload")
        if not isinstance(payload, dict) or not isinstance(envelope.get("ts"), str):
            raise self._refused("is no envelope: it has no ts or no payload")
        name, data = payload.get("event"), payload.get("data")
        if not isinstance(name, str) or not isinstance(data, dict) or name == "snapshot":
            raise self._refused("is no envelope: its payload is no event of a journal")
        fault = shape_fault(Event(name, data))
        if fault is not None and shape_fault(_exactly(line)) is not None:
            raise self._refused(fault)

    def _refused(self, reason: str) -> ArchiveInvalid:
        return ArchiveInvalid(EVENTS, f"line {self.count + 1} {reason}")


def seq_of(line: bytes) -> Seq:
    """The sequence of a line that was checked."""
    return Seq(int(line[_HEX], 16))


def _exactly(line: bytes) -> Event:
    """With integers over 64 bits, which are floats to orjson."""
    payload = json.loads(line)["payload"]
    return Event(payload["event"], payload["data"])
