"""Speech `jsonl`: one JSON object a line.

    in    {"kind": "user" | "system", "content": …}
    out   {"event": name, "data": {…}}

An unknown event name is passed on unchanged. A line that is no event (not
JSON, a known name with another shape, a name of the runtime's own, longer than
`LINE_BYTES_MAX`, nested over `NESTING_MAX`) becomes `output` with the reason, so that nothing is lost.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from watchglass.protocol.base import NAME_CHARS_MAX
from watchglass.protocol.events import PROCESS_RESERVED, Event, shape_fault
from watchglass.protocol.workers import WorkerInput

from .base import EVENT_TEXT_CHARS_MAX, FRESH, Resumed
from .stream import PlainStream

LINE_BYTES_MAX = 256 << 10
_BLANK = b" \t\r\n"
"""What JSON passes over."""
_DIGITS_MAX = 18
"""An integer of no more digits is one of 64 bits."""
_DIGITS_AS_ZEROS = bytes.maketrans(b"123456789", b"0" * 9)
NESTING_MAX = 128
"""Deeper data is read by orjson, but not written by it, nor read by many an observer's parser."""


class JsonlSpeech:
    """Events in lines, both ways."""

    def __init__(self, resumed: Resumed = FRESH) -> None:
        self._line = bytearray()
        self._line_offset = 0
        self._end = resumed.spoken_bytes
        self._overlong: PlainStream | None = None
        if resumed.mid_line:  # Only of a line that is too long a part is said before its end.
            self._overlong = _overlong_from(resumed.spoken_bytes)

    @property
    def spoken_bytes(self) -> int:
        """See `Speech.spoken_bytes`."""
        if self._overlong is not None:
            return self._overlong.spoken_bytes
        return self._line_offset if self._line else self._end

    def encode(self, said: WorkerInput) -> bytes:
        """One line of JSON."""
        return orjson.dumps({"kind": said.kind, "content": said.content}) + b"\n"

    def feed(self, offset: int, data: bytes) -> Sequence[Event]:
        """See `Speech.feed`."""
        events: list[Event] = []
        start = 0
        has_long = has_long_number(data)  # For all lines at once, for hardly any has one.
        while (newline := data.find(b"\n", start)) >= 0:
            line = data[start : newline + 1]
            if self._line or self._overlong is not None or len(line) > LINE_BYTES_MAX:
                events += self._take(line, offset + start)
                events += self._end_line()
            elif not line.isspace():  # Nearly every line: it came whole.
                said = _read(line, has_long=has_long)
                if isinstance(said, Event):
                    events.append(said)
                else:
                    events += _unreadable(line, offset + start, said)
            start = newline + 1
        events += self._take(data[start:], offset + start)
        self._end = offset + len(data)
        return events

    def turn(self) -> Sequence[Event]:
        """Nothing: the agent itself says when its text is done."""
        return []

    def finish(self) -> Sequence[Event]:
        """A last line without its newline."""
        return list(self._end_line()) if self._line or self._overlong else []

    def _take(self, part: bytes, offset: int) -> Iterator[Event]:
        if self._overlong is not None:
            yield from self._overlong.feed(offset, part)
            return
        if not self._line:
            self._line_offset = offset
        self._line += part
        if len(self._line) > LINE_BYTES_MAX:
            self._overlong = _overlong_from(self._line_offset)
            yield from self._overlong.feed(self._line_offset, bytes(self._line))
            self._line.clear()

    def _end_line(self) -> Iterator[Event]:
        if self._overlong is not None:
            yield from self._overlong.finish()
            self._overlong = None
        elif not self._line.isspace():
            line = bytes(self._line)
            said = _read(line, has_long=has_long_number(line))
            if isinstance(said, Event):
                yield said
            else:
                yield from _unreadable(line, self._line_offset, said)
        self._line.clear()


def _overlong_from(offset: int) -> PlainStream:
    return PlainStream("stdout", f"a line over {LINE_BYTES_MAX} bytes", start=offset)


def _unreadable(line: bytes, offset: int, reason: str) -> Sequence[Event]:
    """An agent may print many lines that are no events: a short one is one event, and decoded at once."""
    if len(line) <= EVENT_TEXT_CHARS_MAX:
        text = line.decode(errors="replace")
        return [Event("output", {"stream": "stdout", "text": text, "offset": offset, "reason": reason})]
    output = PlainStream("stdout", reason)
    return [*output.feed(offset, line), *output.finish()]


def _read(line: bytes, *, has_long: bool) -> Event | str:
    """What a line says, or why it is no event."""
    if not line.startswith(b"{") and not line.lstrip(_BLANK).startswith(b"{"):
        return (
            "not a JSON object"  # An exception of the parser would cost five times as much as all the rest.
        )
    try:
        said = orjson.loads(line)
    except orjson.JSONDecodeError as fault:
        return f"not JSON: {fault}"
    if line.count(b"{") + line.count(b"[") > NESTING_MAX and _is_nested_over(NESTING_MAX, said):
        return f"nested over {NESTING_MAX} levels"
    if has_long and has_long_number(line):
        said = json.loads(line)  # orjson makes a float of an integer over 64 bits.
    name, data = said.get("event"), said.get("data", {})
    if not isinstance(name, str) or not name.strip() or len(name) > NAME_CHARS_MAX:
        return f"event: a name of 1 to {NAME_CHARS_MAX} characters is missing"
    if not isinstance(data, dict):
        return "data: not a JSON object"
    if name in PROCESS_RESERVED:
        return f"event {name!r} is written by the runtime alone"
    if name == "status" and "phase" in data:
        return "data.phase: the lifecycle is told by the runtime alone (event 'status')"
    event = Event(name, data)
    return shape_fault(event) or event


def has_long_number(line: bytes) -> bool:
    """Whether more digits stand in a row, anywhere, than every integer of 64 bits has room for."""
    return b"0" * (_DIGITS_MAX + 1) in line.translate(_DIGITS_AS_ZEROS)


def _is_nested_over(levels: int, value: Any) -> bool:
    layer = [value]
    for _ in range(levels):
        inner = (part for outer in layer for part in (outer.values() if isinstance(outer, dict) else outer))
        layer = [part for part in inner if isinstance(part, dict | list)]
    return bool(layer)
