"""WebSocket frames of a server that sends whole, unmasked, uncompressed text: cut, or only counted."""

from __future__ import annotations

_TEXT = 0x81


class Frames:
    """Cuts a stream of bytes into frames. Anything but text is an error: we only listen."""

    def __init__(self) -> None:
        self._rest = b""

    def split(self, received: bytes) -> list[bytes]:
        """The contents of the frames that are complete now."""
        stream = self._rest + received
        contents: list[bytes] = []
        at = 0
        while (found := _frame(stream, at)) is not None:
            start, at = found
            contents.append(stream[start:at])
        self._rest = stream[at:]
        return contents

    def count(self, received: bytes) -> tuple[int, bytes]:
        """How many frames are complete now, and the content of the last of them."""
        stream = self._rest + received if self._rest else received
        have = len(stream)
        count = at = start = 0
        while (
            at + 4 <= have and stream[at] == _TEXT and stream[at + 1] == 126
        ):  # Nearly all: 126 to 65,535 bytes.
            after = at + 4 + (stream[at + 2] << 8 | stream[at + 3])
            if after > have:
                break
            start, at = at + 4, after
            count += 1
        while (found := _frame(stream, at)) is not None:
            start, at = found
            count += 1
        self._rest = stream[at:]
        return count, stream[start:at]


def _frame(stream: bytes, at: int) -> tuple[int, int] | None:
    """Where the content of the frame at `at` begins and ends; None when it is not complete."""
    if len(stream) < at + 2:
        return None
    if stream[at] != _TEXT:
        raise ValueError(f"a frame begins with {stream[at]:#x}, which is no whole text frame")
    size, start = stream[at + 1], at + 2
    if size >= 126:
        start += 2 if size == 126 else 8
        size = int.from_bytes(stream[at + 2 : start], "big")
    return (start, start + size) if len(stream) >= start + size else None
