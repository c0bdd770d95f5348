"""Bytes that are written first and read afterwards; few of them in memory, many in a file without a name."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

IN_MEMORY_BYTES_MAX: Final = 1 << 20
READ_BYTES: Final = 256 << 10


class Spool:
    """Everything raises OSError."""

    def __init__(self, folder: Path | None = None) -> None:
        """`folder`: where the file is; None: where temporary files are."""
        place = None if folder is None else str(folder)
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES_MAX, dir=place)  # noqa: SIM115
        self.size_bytes = 0

    def write(self, data: bytes) -> None:
        """Add to the end."""
        self._file.write(data)
        self.size_bytes += len(data)

    def rewind(self) -> None:
        """Begin to read; nothing is written any more."""
        self._file.seek(0)

    def read_line(self) -> bytes:
        """The next line with its newline; empty at the end."""
        return self._file.readline()

    def pieces(self) -> Iterator[bytes]:
        """Everything from the beginning."""
        self.rewind()
        while data := self._file.read(READ_BYTES):
            yield data

    def close(self) -> None:
        """Forget all of it."""
        self._file.close()
