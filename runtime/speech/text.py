"""Speech `text`: lines in, text out.

Every piece of stdout is a `text_delta` as soon as it comes. The text between
two inputs is closed by `text_done`, which becomes one entry of the transcript;
a text over `DONE_CHARS_MAX` characters is closed in several parts, so that
nothing grows without bound.
"""

from __future__ import annotations

from collections.abc import Sequence

from watchglass.protocol.events import Event
from watchglass.protocol.workers import WorkerInput

from .base import FRESH, Resumed, pieces
from .stream import Utf8Stream

DONE_CHARS_MAX = 64 << 10


class TextSpeech:
    """Lines in, `text_delta` out."""

    def __init__(self, resumed: Resumed = FRESH) -> None:
        self._decoded = Utf8Stream(resumed.spoken_bytes)
        self._open: list[str] = [resumed.open_text] if resumed.open_text else []
        self._open_chars = len(resumed.open_text)

    @property
    def spoken_bytes(self) -> int:
        """See `Speech.spoken_bytes`."""
        return self._decoded.decoded_bytes

    def encode(self, said: WorkerInput) -> bytes:
        """The content and a newline; a content of several lines is several lines."""
        return said.content.encode() + b"\n"

    def feed(self, offset: int, data: bytes) -> Sequence[Event]:
        """See `Speech.feed`."""
        return self._deltas(self._decoded.feed(offset, data)[1])

    def turn(self) -> Sequence[Event]:
        """`text_done` with all that was said since the last one, if anything was."""
        if not self._open:
            return []
        text, self._open, self._open_chars = "".join(self._open), [], 0
        return [Event("text_done", {"text": text})]

    def finish(self) -> Sequence[Event]:
        """See `Speech.finish`."""
        return [*self._deltas(self._decoded.finish()[1]), *self.turn()]

    def _deltas(self, text: str) -> list[Event]:
        events: list[Event] = []
        for piece in pieces(text):
            if self._open_chars + len(piece) > DONE_CHARS_MAX:
                events += self.turn()
            self._open.append(piece)
            self._open_chars += len(piece)
            events.append(Event("text_delta", {"text": piece}))
        return events
