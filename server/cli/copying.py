"""Copies the raw streams of a worker, byte for byte, while it writes them.

The feed says when there is more; the bytes come from the logs, for an event
carries text, in which what is not UTF-8 is lost. A thread of its own copies, so
that many small events become few large reads.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from watchglass.client.faults import ClientFault, Unreachable

from .reaching import client_for
from .showing import note

if TYPE_CHECKING:
    from watchglass.client.finding import Found
    from watchglass.client.http import Client

Sink = Callable[[bytes], None]

READ_BYTES: Final = 1 << 20
FINISH_TIMEOUT_S: Final = 600.0
"""How long the rest of a log may take to be copied when its worker has ended."""
LOSS_WAIT_S: Final = 0.2


class LogCopy:
    """One stream and how far it is copied."""

    def __init__(
        self, worker: str, stream: str, sink: Sink, *, offset: int = 0, limit: int | None = None
    ) -> None:
        self._worker = worker
        self._stream = stream
        self._sink = sink
        self._left = limit
        self.offset = offset

    @property
    def full(self) -> bool:
        """Whether as many bytes are copied as were asked for."""
        return self._left == 0

    def copy(self, client: Client) -> None:
        """Copy what is there now."""
        from watchglass.client.call import worker_path

        path = worker_path(self._worker, "logs", self._stream)
        while not self.full:
            asked = READ_BYTES if self._left is None else min(self._left, READ_BYTES)
            data = client.get_bytes(path, {"offset": self.offset, "limit": asked})
            if data:
                self._sink(data)
                self.offset += len(data)
                self._left = None if self._left is None else self._left - len(data)
            if len(data) < asked:
                return


class Copier:
    """Copies streams whenever it is woken, until `finish`.

    `on_fault` is called, in the copier's thread, when it cannot go on: the fault
    is then raised by `finish`.
    """

    def __init__(self, runtime: Found, copies: Mapping[str, LogCopy], on_fault: Callable[[], None]) -> None:
        self._runtime = runtime
        self._copies = dict(copies)
        self._on_fault = on_fault
        self._wake = threading.Event()
        self._finishing = False
        self._patience_s = 0.0
        self._fault: OSError | ClientFault | None = None
        self._thread = threading.Thread(target=self._run, name="watchglass-copier", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """There may be more."""
        self._wake.set()

    def finish(self, *, patience_s: float = 0.0) -> None:
        """Copy what is left, and end. Raises what kept it from copying.

        `patience_s`: how long to try to come back to a runtime that does not answer.
        """
        self._patience_s = patience_s
        self._finishing = True
        self._wake.set()
        self._thread.join(FINISH_TIMEOUT_S)
        if self._fault is not None:
            raise self._fault
        if self._thread.is_alive():
            raise Unreachable(self._runtime.address.url, f"the logs took more than {FINISH_TIMEOUT_S:.0f} s")

    def _run(self) -> None:
        try:
            with client_for(self._runtime) as client:
                while self._is_woken():
                    self._copy(client)  # Behind a loss the feed comes back too, and wakes us then.
                self._copy_the_rest(client)
        except (OSError, ClientFault) as fault:
            self._fault = fault
            self._on_fault()

    def _is_woken(self) -> bool:
        """When there may be more: whether more may follow it."""
        self._wake.wait()
        self._wake.clear()
        return not self._finishing

    def _copy_the_rest(self, client: Client) -> None:
        gives_up_s = time.monotonic() + self._patience_s
        told = False
        while (loss := self._copy(client)) is not None:
            if time.monotonic() >= gives_up_s:
                raise loss
            if not told:
                note(f"{loss}; coming back for the rest of the logs")
            told = True
            time.sleep(LOSS_WAIT_S)

    def _copy(self, client: Client) -> Unreachable | None:
        """Copy what is there now; what kept it from that, when the runtime may be back soon."""
        try:
            for copy in self._copies.values():
                copy.copy(client)
        except Unreachable as loss:
            client.move(self._runtime.again())
            return loss
        return None
