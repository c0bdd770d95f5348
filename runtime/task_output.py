"""What a status answer shows of a task's output: the beginning of each stream, as text.

The bounds are those of the request (`stdout_max_bytes`, `stderr_max_bytes`), and
`INLINE_BYTES_MAX` whatever was asked. All bytes are in the files. What is no
UTF-8 is shown as U+FFFD, and a character is never cut in two.
"""

from __future__ import annotations

import asyncio
import codecs
from pathlib import Path
from typing import Final, NamedTuple

from watchglass.protocol.errors import StoreIo

from .executor.exits import read_report

INLINE_BYTES_MAX: Final = 16 << 20
_AT_ONCE_BYTES: Final = 64 << 10
"""More is read in a thread."""


class Shown(NamedTuple):
    """The text, and whether the task wrote more."""

    text: str
    truncated: bool


async def shown_output(directory: Path, stream: str, max_bytes: int) -> Shown:
    """The beginning of `stream` (`stdout`, `stderr`), as there is now. Raises StoreIo."""
    path = directory / f"{stream}.log"
    most = min(max_bytes, INLINE_BYTES_MAX)
    try:
        size_bytes = path.stat().st_size
        if not size_bytes:
            return Shown("", truncated=False)
        if size_bytes > _AT_ONCE_BYTES:
            head = await asyncio.to_thread(_head, path, most)
        else:
            head = _head(path, most)
        return Shown(_text(head), size_bytes > len(head) or _is_cut(directory, stream))
    except FileNotFoundError:  # Nothing was started yet.
        return Shown("", truncated=False)
    except OSError as fault:
        raise StoreIo("read", str(path), fault.strerror or str(fault)) from fault


def _head(path: Path, most: int) -> bytes:
    with path.open("rb") as file:
        return file.read(most)


def _text(head: bytes) -> str:
    """Without the beginning of a character whose rest is not here."""
    return codecs.getincrementaldecoder("utf-8")("replace").decode(head)


def _is_cut(directory: Path, stream: str) -> bool:
    """Whether the file itself has not all that was written. Raises OSError."""
    report = read_report(directory)
    if report is None:
        return False
    return (report.exit.stdout if stream == "stdout" else report.exit.stderr).is_truncated
