"""What a WebSocket client sends, split into its frames (RFC 6455, section 5.2). Pure.

    81 │ 80 + length: 1, 3 or 9 bytes │ mask: 4 bytes │ text ^ mask

A backend sends thousands of small texts a second, each whole in one frame:
those are unmasked here. Every other frame (a piece of a text, a ping, a close,
what no client may send) is passed on as it came, for whoever knows the protocol;
so is a whole text where there may be none, or whose length is not the shortest.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

_WHOLE_TEXT: Final = 0x81
_MASKED: Final = 0x80
_FINAL: Final = 0x80
_CONTROL: Final = 0x08
_MASK_BYTES: Final = 4


class FrameTooLarge(Exception):
    """A frame says that it has more bytes than it may."""


class ClientFrames:
    """One connection's inbound bytes. It keeps at most one frame that is not whole."""

    def __init__(self, frame_bytes_max: int) -> None:
        self._frame_bytes_max = frame_bytes_max
        self._rest = bytearray()
        self._ignores = False
        self._in_pieces = False
        """Whether a message has begun and not ended: only pieces of it may follow, and controls."""
        self._due = 0
        """So many bytes it has to be before there is anything to see."""

    def ignore(self) -> None:
        """Keep nothing of what comes from now on."""
        self._ignores = True
        self._rest = bytearray()

    def split(self, data: bytes) -> Iterator[list[bytes] | bytes]:
        """What is whole by now, in order: texts, one behind the other, or a frame as it came.

        Raises:
            FrameTooLarge.
        """
        if self._ignores:
            return
        rest = self._rest
        rest += data
        if len(rest) < self._due:
            return
        come, at, end = bytes(rest), 0, len(rest)
        texts: list[bytes] = []
        while True:
            begin, size = _extent(come, at, end)
            if size > self._frame_bytes_max:
                if texts:  # They were sent before it, in however many pieces it all comes.
                    yield texts
                raise FrameTooLarge
            if begin + size > end or not begin:
                break
            if come[at] == _WHOLE_TEXT and not self._in_pieces and _is_sound(come[at + 1], size):
                texts.append(_unmasked(come[begin - _MASK_BYTES : begin], come[begin : begin + size]))
            else:
                if texts:
                    yield texts
                    texts = []
                if not come[at] & _CONTROL:
                    self._in_pieces = not come[at] & _FINAL
                yield come[at : begin + size]
            at = begin + size
        self._rest = rest = bytearray(come[at:])
        self._due = begin + size - at if begin else 0
        if texts:
            yield texts


def _extent(come: bytes, at: int, end: int) -> tuple[int, int]:
    """Where the content of the frame at `at` begins, and its size; 0 when that is not known yet."""
    if end - at < 2:
        return 0, 0
    size = come[at + 1] & 0x7F
    begin = at + (2 + _MASK_BYTES if come[at + 1] & _MASKED else 2)
    if size < 126:
        return begin, size
    length_bytes = 2 if size == 126 else 8
    if end - at < 2 + length_bytes:
        return 0, 0
    return begin + length_bytes, int.from_bytes(come[at + 2 : at + 2 + length_bytes], "big")


def _is_sound(second: int, size: int) -> bool:
    """Whether a frame with this second byte is masked, and its length the shortest."""
    said = second & 0x7F
    return bool(second & _MASKED) and size >= (0, 126, 1 << 16)[max(0, said - 125)]


def _unmasked(mask: bytes, content: bytes) -> bytes:
    size = len(content)
    masks = (mask * (size // _MASK_BYTES + 1))[:size]
    return (int.from_bytes(content, "little") ^ int.from_bytes(masks, "little")).to_bytes(size, "little")
