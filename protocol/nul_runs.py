"""JSON of a long text with runs of NUL, as a disk image or a sparse file has them.

Each NUL is six bytes, `\\u0000`, which an encoder writes one character at a time. Whole
runs are put between what it makes of the rest; the bytes are the same as its own.
"""

from __future__ import annotations

from typing import Final

from orjson import Fragment, dumps

from .events import Json

TEXT_CHARS_MIN: Final = 1024
"""A shorter text need not be looked at: its event costs more than its characters."""

_RUN: Final = "\0" * 64
_RUN_ENCODED: Final = dumps(_RUN)[1:-1]


def has_nul_runs(text: str) -> bool:
    """Whether data with this `text` is a case for `dumps_with_runs`."""
    return _RUN in text


def dumps_with_runs(data: Json) -> bytes:
    """What `orjson.dumps` says of it, and raises; its `text` is a string."""
    pieces = [dumps(piece)[1:-1] if piece else b"" for piece in data["text"].split(_RUN)]
    return dumps({**data, "text": Fragment(b'"%b"' % _RUN_ENCODED.join(pieces))})
