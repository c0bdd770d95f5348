"""How a process speaks, as small pure machines.

Bytes of stdout go in as they come, events come out. What a machine holds back
(half a character, half a line, an open text) is bounded, and `finish` gives it
up when the stream has ended. stderr is never speech.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from watchglass.protocol.events import Event
from watchglass.protocol.workers import WorkerInput

EVENT_TEXT_CHARS_MAX = 32 << 10
"""The most text that one event carries; more becomes several events."""


class Speech(Protocol):
    """One worker's way to speak."""

    def encode(self, said: WorkerInput) -> bytes:
        """What the process reads on its stdin."""

    def feed(self, offset: int, data: bytes) -> Sequence[Event]:
        """Events of the next bytes of stdout; `offset` is their place in its log."""

    def turn(self) -> Sequence[Event]:
        """Events that close what was said before an input."""

    def finish(self) -> Sequence[Event]:
        """Events of what was held back: stdout has ended."""


def pieces(text: str) -> Sequence[str]:
    """A text in parts of at most `EVENT_TEXT_CHARS_MAX` characters; none for an empty one."""
    return [text[start : start + EVENT_TEXT_CHARS_MAX] for start in range(0, len(text), EVENT_TEXT_CHARS_MAX)]
