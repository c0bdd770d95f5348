"""Frames as the bytes that a WebSocket server sends (RFC 6455, section 5.2).

    81 │ length: 1, 3 or 9 bytes │ {"kind":"event","envelope": … }

Whole text frames, neither masked nor compressed, so they are the same for
every observer and can be made once, many at a time.
"""

from __future__ import annotations

from collections.abc import Sequence

from .frames import event_frame

_TEXT = 0x81
_BEFORE, _, _BEHIND = event_frame(b"\0").partition(b"\0")
_ADDED_BYTES = len(_BEFORE) + len(_BEHIND)
_KEPT_FOR_BYTES_MAX = 4096


def frame_header(size_bytes: int) -> bytes:
    """What stands before a text of so many bytes."""
    if size_bytes < 126:
        return bytes((_TEXT, size_bytes))
    if size_bytes < 1 << 16:
        return b"%c\x7e%b" % (_TEXT, size_bytes.to_bytes(2, "big"))
    return b"%c\x7f%b" % (_TEXT, size_bytes.to_bytes(8, "big"))


def text_frame(text: bytes) -> bytes:
    """A whole text as one frame."""
    return frame_header(len(text)) + text


class _Between(dict[int, bytes]):
    """What ends a frame and begins the next, by the size of that one's envelope; kept for usual sizes."""

    def __missing__(self, size_bytes: int) -> bytes:
        between = _BEHIND + frame_header(size_bytes + _ADDED_BYTES) + _BEFORE
        if size_bytes <= _KEPT_FOR_BYTES_MAX:
            self[size_bytes] = between
        return between


_between = _Between().__getitem__


def ready_frames(envelopes: Sequence[bytes]) -> bytes:
    """The frames of some events, one behind the other: `event_frame` of each, with its header."""
    if not envelopes:
        return b""
    pieces = [_BEHIND] * (2 * len(envelopes) + 1)
    pieces[:-1:2] = map(_between, map(len, envelopes))
    pieces[1::2] = envelopes
    pieces[0] = pieces[0][len(_BEHIND) :]
    return b"".join(pieces)
