"""Bytes of a stream that are not speech: `output {stream, text, offset}`.

Text is decoded as UTF-8 across chunk borders; what is not UTF-8 becomes
U+FFFD here and stays exact in the raw log.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
from typing import Literal

from watchglass.protocol.events import Event

from .base import EVENT_TEXT_CHARS_MAX

StreamName = Literal["stdout", "stderr"]


class Utf8Stream:
    """Decodes a stream from offset `start` on, and remembers where its undecoded bytes began."""

    def __init__(self, start: int = 0) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._end = start

    @property
    def decoded_bytes(self) -> int:
        """The offset before which everything was given out."""
        return self._end - len(self._decoder.getstate()[0])

    def feed(self, offset: int, data: bytes) -> tuple[int, str]:
        """The offset of the first decoded byte, and the text."""
        held_bytes = len(self._decoder.getstate()[0])
        self._end = offset + len(data)
        return offset - held_bytes, self._decoder.decode(data)

    def finish(self) -> tuple[int, str]:
        """What was held back as half a character."""
        return self.decoded_bytes, self._decoder.decode(b"", final=True)


class PlainStream:
    """A stream of which every byte is `output`; `reason` says why it is no speech."""

    def __init__(self, stream: StreamName, reason: str | None = None, *, start: int = 0) -> None:
        self._stream: StreamName = stream
        self._extra = {} if reason is None else {"reason": reason}
        self._text = Utf8Stream(start)

    @property
    def spoken_bytes(self) -> int:
        """The offset before which everything became events."""
        return self._text.decoded_bytes

    def feed(self, offset: int, data: bytes) -> Sequence[Event]:
        """Events of the next bytes, each of a bounded size and with its exact offset."""
        return list(self._events(offset, data))

    def finish(self) -> Sequence[Event]:
        """Events of what was held back."""
        return list(self._event(*self._text.finish()))

    def _events(self, offset: int, data: bytes) -> Iterator[Event]:
        for start in range(0, len(data), EVENT_TEXT_CHARS_MAX):
            part = data[start : start + EVENT_TEXT_CHARS_MAX]
            yield from self._event(*self._text.feed(offset + start, part))

    def _event(self, offset: int, text: str) -> Iterator[Event]:
        if text:
            yield Event("output", {"stream": self._stream, "text": text, "offset": offset, **self._extra})
