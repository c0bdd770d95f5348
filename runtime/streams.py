"""A process's three streams as its worker's journal accounts for them.

Each append to the journal carries the offsets of its moment: how much input was
accepted, and of how much output the events are written. Whoever takes over after
a crash goes on there, to the byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from watchglass.protocol.events import Event
from watchglass.protocol.workers import WorkerInput
from watchglass.store.base import StreamOffsets
from watchglass.store.worker_record import WorkerRecord

from .executor import OutputChunk
from .speech import PlainStream, Resumed, new_speech


class Streams:
    """Input in bytes, output in events."""

    __slots__ = ("_name", "_stderr", "accepted_bytes", "are_there", "speech")

    def __init__(self, record: WorkerRecord) -> None:
        """At their beginning."""
        self.are_there = record.request.execution is not None
        self._name = record.request.speech
        self.speech = new_speech(self._name)
        self._stderr = PlainStream("stderr")
        self.accepted_bytes = 0

    def resume(self, offsets: StreamOffsets, *, open_text: str, stdout: Path) -> None:
        """Go on where a journal stands; `stdout` is the file of the process's output. Raises OSError."""
        self.accepted_bytes = offsets.stdin
        self.speech = new_speech(
            self._name,
            Resumed(
                spoken_bytes=offsets.stdout,
                open_text=open_text,
                mid_line=not _ends_line(stdout, offsets.stdout),
            ),
        )
        self._stderr = PlainStream("stderr", start=offsets.stderr)

    def offsets(self) -> StreamOffsets | None:
        """What the streams have come to; None: there are none."""
        return self.offsets_with(b"")

    def offsets_with(self, accepted: bytes) -> StreamOffsets | None:
        """The same, as of when more input will have been accepted."""
        if not self.are_there:
            return None
        return StreamOffsets(
            self.accepted_bytes + len(accepted), self.speech.spoken_bytes, self._stderr.spoken_bytes
        )

    def encode(self, said: WorkerInput) -> bytes:
        """An input as the process reads it; nothing when there is none. Raises InvalidRequest."""
        return self.speech.encode(said) if self.are_there else b""

    def feed(self, chunks: Iterable[OutputChunk]) -> list[Event]:
        """What output means, in order."""
        events: list[Event] = []
        for chunk in chunks:
            machine = self.speech if chunk.stream == "stdout" else self._stderr
            events += machine.feed(chunk.offset, chunk.data)
        return events

    def finish(self) -> Sequence[Event]:
        """The output is read to its end: what was held back."""
        return [*self.speech.finish(), *self._stderr.finish()]


def _ends_line(path: Path, end: int) -> bool:
    """Whether the first `end` bytes of a file end with a newline, or there are none. Raises OSError."""
    if end == 0:
        return True
    with path.open("rb") as file:
        file.seek(end - 1)
        return file.read(1) == b"\n"
