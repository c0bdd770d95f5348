"""How a process speaks, as small pure machines.

Bytes of stdout go in as they come, events come out. What a machine holds back
(half a character, half a line, an open text) is bounded, and `finish` gives it
up when the stream has ended. stderr is never speech.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from watchglass.protocol.events import Event
from watchglass.protocol.workers import WorkerInput

EVENT_TEXT_CHARS_MAX = 32 << 10
"""The most text that one event carries; more becomes several events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """Where a machine goes on that another one, now gone, has left.

    `spoken_bytes` of stdout became events, `open_text` is what of them no
    `text_done` has closed, `mid_line`: the last of them is no end of a line.
    """

    spoken_bytes: int = 0
    open_text: str = ""
    mid_line: bool = False


FRESH = Resumed()


class Speech(Protocol):
    """One worker's way to speak."""

    @property
    def spoken_bytes(self) -> int:
        """How much of stdout is in the events given out so far; the rest is held back."""

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
