"""Where the content of one member goes while it arrives."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import IO, Final, Protocol

import orjson
from pydantic import ValidationError

from watchglass.protocol.errors import ArchiveInvalid
from watchglass.protocol.workers import LeftOut

from .lines import JournalCheck
from .members import LEFT_OUT, readable
from .tar import Header
from .tree import settle

LEFT_OUT_SHOWN_MAX: Final = 100
_LINE_BYTES_MAX: Final = 64 << 10


class Sink(Protocol):
    """One member's. `close` is called in any case, `finish` when all of it is there."""

    def write(self, data: bytes) -> None:
        """The next bytes."""

    def finish(self) -> None:
        """That was all."""

    def close(self) -> None:
        """Let go what is open."""


class Nowhere:
    """For what has no content."""

    def write(self, data: bytes) -> None:
        """Nothing comes."""

    def finish(self) -> None:
        """Nothing was to do."""

    def close(self) -> None:
        """Nothing is open."""


class Document(Nowhere):
    """A small member, held until it is whole."""

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take
        self._content = bytearray()

    def write(self, data: bytes) -> None:
        """See `Sink.write`."""
        self._content += data

    def finish(self) -> None:
        """See `Sink.finish`."""
        self._take(bytes(self._content))


class FileSink:
    """A file of its own, which gets the mode and the time that its header says."""

    def __init__(self, descriptor: int, header: Header) -> None:
        self._file = os.fdopen(descriptor, "wb", buffering=0)
        self._header = header

    def write(self, data: bytes) -> None:
        """See `Sink.write`."""
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]

    def finish(self) -> None:
        """See `Sink.finish`."""
        settle(self._file.fileno(), self._header)

    def close(self) -> None:
        """See `Sink.close`."""
        self._file.close()


class JournalSink:
    """The journal: checked line by line, and kept as it is."""

    def __init__(self, check: JournalCheck, file: IO[bytes]) -> None:
        self._check = check
        self._file = file

    def write(self, data: bytes) -> None:
        """See `Sink.write`."""
        self._check.feed(data)
        self._file.write(data)

    def finish(self) -> None:
        """See `Sink.finish`."""
        self._check.finish()
        self._file.flush()

    def close(self) -> None:
        """See `Sink.close`."""
        self._file.close()


class Omissions(Nowhere):
    """What of a workspace is not there any more: `left-out.jsonl`, and what is left out here."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[LeftOut] = []
        self._held = b""

    def add(self, name: str, reason: str) -> None:
        """One more; the first of them are kept."""
        self.count += 1
        if len(self.first) < LEFT_OUT_SHOWN_MAX:
            self.first.append(LeftOut(name=readable(name), reason=reason))

    def write(self, data: bytes) -> None:
        """See `Sink.write`."""
        *lines, self._held = (self._held + data).split(b"\n")
        if len(self._held) > _LINE_BYTES_MAX:
            raise ArchiveInvalid(LEFT_OUT, f"has a line over {_LINE_BYTES_MAX} bytes")
        for line in lines:
            try:
                orjson.loads(line)  # Pydantic lets what is no JSON in, such as NaN.
                said = LeftOut.model_validate_json(line)
            except (orjson.JSONDecodeError, ValidationError):
                raise ArchiveInvalid(LEFT_OUT, "has a line that names nothing") from None
            self.add(said.name, said.reason)

    def finish(self) -> None:
        """See `Sink.finish`."""
        if self._held:
            raise ArchiveInvalid(LEFT_OUT, "has no newline at its end")
