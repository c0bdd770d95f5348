"""Tool calls that have begun and are not done: a fold over events, as the transcript's is.

    tool_call_start        opens one
    tool_call_args_delta   adds to its arguments
    tool_call_done, tool_result
                           close it
    turn_end, run_end, end close all

Bounded: of many open calls the newest `OPEN_CALLS_MAX` are known, and of long
arguments the first `ARGUMENTS_CHARS_MAX` characters.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from watchglass.protocol.events import Event
from watchglass.protocol.feed_v2 import OpenToolCall

OPEN_CALLS_MAX: Final = 64
ARGUMENTS_CHARS_MAX: Final = 64 << 10

CALLS: Final = frozenset(
    {"tool_call_start", "tool_call_args_delta", "tool_call_done", "tool_result", "turn_end", "run_end", "end"}
)
"""The events that `feed` does anything about."""


class _Call:
    __slots__ = ("chars", "name", "pieces")

    def __init__(self, name: str, arguments: str = "") -> None:
        self.name = name
        self.pieces = [arguments]
        self.chars = len(arguments)

    def add(self, piece: str) -> None:
        room = ARGUMENTS_CHARS_MAX - self.chars
        if room > 0:
            self.pieces.append(piece[:room])
            self.chars += min(room, len(piece))


class OpenCalls:
    """The calls that are open after the events so far."""

    def __init__(self, calls: Iterable[tuple[str, str, str]] = ()) -> None:
        """Go on with calls as `state` gave them."""
        self._calls = {call_id: _Call(name, arguments) for call_id, name, arguments in calls}

    def feed(self, event: Event) -> None:
        """Take the next event; its name is one of `CALLS`."""
        name, data = event
        if name == "tool_call_start":
            self._open(data["id"], data["name"])
        elif name == "tool_call_args_delta":
            if (call := self._calls.get(data["id"])) is not None:
                call.add(data["json"])
        elif name in {"tool_call_done", "tool_result"}:
            self._calls.pop(data["id"], None)
        else:
            self._calls.clear()

    def state(self) -> list[tuple[str, str, str]]:
        """Id, name and arguments of each, in order of their beginning."""
        return [(call_id, call.name, "".join(call.pieces)) for call_id, call in self._calls.items()]

    def told(self) -> list[OpenToolCall]:
        """The same, as a snapshot tells them."""
        return [OpenToolCall(id=call, name=name, arguments=said) for call, name, said in self.state()]

    def _open(self, call_id: str, name: str) -> None:
        self._calls.pop(call_id, None)
        while len(self._calls) >= OPEN_CALLS_MAX:
            del self._calls[next(iter(self._calls))]
        self._calls[call_id] = _Call(name)
