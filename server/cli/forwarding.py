"""From our stdin to a worker's: lines become inputs, the end closes its stdin.

An input must not be blank (the contract), so blank lines travel with the next
line that is not; only those at the very end cannot be sent. Lines that are
ready together go together as one input of speech `text`, whose encoding gives
the very same bytes; `jsonl` gets one input a line.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, Final

from watchglass.client.faults import ApiError, ClientFault, Unreachable

from .faults import CliError
from .reaching import client_for
from .showing import note

if TYPE_CHECKING:
    from watchglass.client.finding import Found
    from watchglass.client.http import Client

Json = dict[str, Any]

READ_BYTES: Final = 64 << 10
INPUT_BYTES_MAX: Final = 256 << 10
BACKLOG_WAIT_FIRST_S: Final = 0.02
BACKLOG_WAIT_MAX_S: Final = 0.5
LOSS_WAIT_S: Final = 0.2


class Lines:
    """Bytes in, contents of inputs out. Pure.

    Raises `CliError` for what no input can hold: a line that is not UTF-8, or
    over the bound.
    """

    def __init__(self, *, together: bool) -> None:
        self._together = together
        self._held = b""

    def feed(self, data: bytes) -> list[str]:
        """Contents made of the lines that are complete now."""
        complete, newline, rest = (self._held + data).rpartition(b"\n")
        self._held = rest
        if not newline:
            _check_size(rest)
            return []
        contents, blank = self._contents(complete)
        self._held = rest if blank is None else blank + b"\n" + rest
        _check_size(self._held)
        return contents

    def finish(self) -> list[str]:
        """What is left: a last line without its newline. Blank lines at the very end stay in `unsent`."""
        left, self._held = self._held, b""
        contents, blank = self._contents(left)
        self._held = blank or b""
        return contents

    @property
    def unsent(self) -> bytes:
        """What was not given out."""
        return self._held

    def _contents(self, lines: bytes) -> tuple[list[str], bytes | None]:
        """Contents of lines, and blank ones to hold back; both are without the last newline."""
        if not self._together:
            return [_text(line) for line in lines.split(b"\n") if not _is_blank(line)], None
        contents = []
        while len(lines) > INPUT_BYTES_MAX:
            end = lines.rfind(b"\n", 0, INPUT_BYTES_MAX + 1)
            if end < 0 or _is_blank(lines[:end]):
                break  # Too long for an input: `_text` says so.
            contents.append(_text(lines[:end]))
            lines = lines[end + 1 :]
        if _is_blank(lines):
            return contents, lines
        return [*contents, _text(lines)], None


class StdinForwarder:
    """Sends what comes from a descriptor to a worker, in a thread that ends with the process.

    Without a descriptor there is nothing to send, and the worker's stdin is closed.
    """

    def __init__(self, runtime: Found, worker: str, descriptor: int | None, *, together: bool) -> None:
        self._runtime = runtime
        self._worker = worker
        self._descriptor = descriptor
        self._lines = Lines(together=together)
        self._ready = threading.Event()
        self._ended = threading.Event()
        self.failed = False
        self._thread = threading.Thread(target=self._run, name="watchglass-stdin", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def worker_runs(self) -> None:
        """The worker has a process, whose stdin can be closed."""
        self._ready.set()

    def worker_ended(self) -> None:
        """There is nobody to send to any more."""
        self._ended.set()
        self._ready.set()

    def _run(self) -> None:
        try:
            with client_for(self._runtime) as client:
                self._forward(client)
        except _ReadsNoMore:
            return
        except (OSError, ClientFault, CliError) as fault:
            if not self._ended.is_set():
                self.failed = True
                note(f"stdin is not forwarded any further: {fault}")

    def _forward(self, client: Client) -> None:
        try:
            while data := self._read():
                for content in self._lines.feed(data):
                    self._send(client, content)
            for content in self._lines.finish():
                self._send(client, content)
        except CliError:  # What came is no text: the worker gets no more of it.
            self._close(client)
            raise
        if self._lines.unsent and not self._ended.is_set():
            note(f"the last {len(self._lines.unsent)} bytes of stdin are blank, and an input must not be")
        self._close(client)

    def _read(self) -> bytes:
        return b"" if self._descriptor is None else os.read(self._descriptor, READ_BYTES)

    def _send(self, client: Client, content: str) -> None:
        wait_s = BACKLOG_WAIT_FIRST_S
        while not self._ended.is_set():
            try:
                self._post(client, "input", {"kind": "user", "content": content}, again_when=_UNSENT)
            except ApiError as refusal:
                _check_reads(refusal)
                if refusal.code != "input_backlog":
                    raise
                self._ended.wait(wait_s)
                wait_s = min(BACKLOG_WAIT_MAX_S, wait_s * 2)
            else:
                return

    def _close(self, client: Client) -> None:
        self._ready.wait()
        if self._ended.is_set():
            return
        try:
            self._post(client, "close-stdin", {}, again_when=_UNSENT_OR_LOST)  # Twice is once.
        except ApiError as refusal:
            _check_reads(refusal)
            raise

    def _post(self, client: Client, act: str, body: Json, *, again_when: frozenset[str]) -> None:
        """Ask the worker for something; what nobody has got goes to where the runtime is next.

        `again_when`: how far a lost request may have come that is sent again. How
        long that goes on is decided by who follows the worker.
        """
        from watchglass.client.call import worker_path

        while True:
            try:
                client.post(worker_path(self._worker, act), body)
            except Unreachable as fault:
                if fault.stage not in again_when or self._ended.wait(LOSS_WAIT_S):
                    raise
                client.move(self._runtime.again())
            else:
                return


_UNSENT = frozenset({"unsent"})
_UNSENT_OR_LOST = frozenset({"unsent", "lost"})


class _ReadsNoMore(Exception):
    """The worker has ended, or closed its stdin: what we would still send is nobody's."""


def _check_reads(refusal: ApiError) -> None:
    if refusal.code in {"invalid_request", "worker_not_found"}:
        raise _ReadsNoMore from None


def _is_blank(data: bytes) -> bool:
    """Whether the runtime would find it blank; it looks at the text, which has more kinds of blanks."""
    return not data.decode(errors="replace").strip()


def _check_size(line: bytes) -> None:
    if len(line) > INPUT_BYTES_MAX:
        raise CliError(f"a line is over {INPUT_BYTES_MAX} bytes, the most that one input holds")


def _text(data: bytes) -> str:
    _check_size(data)
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise CliError("it is not UTF-8 text, and an input is text") from None
