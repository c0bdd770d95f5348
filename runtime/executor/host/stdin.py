"""A worker's input on its way into the pipe."""

from __future__ import annotations

import os


class Input:
    """Bytes in order into the worker's stdin, never waiting for it to read.

    Holds at most what the server's window allows.
    """

    __slots__ = ("is_closed", "is_closing", "pending", "pipe", "received", "taken")

    def __init__(self, pipe: int) -> None:
        self.pipe = pipe
        self.is_closed = False
        self.pending = bytearray()
        self.received = 0
        self.taken = 0
        self.is_closing = False

    def put(self, received: bytes) -> None:
        """After the end bytes only count as pending: the exit reports them as undelivered."""
        self.received += len(received)
        self.pending += received
        self.write()

    def write(self) -> None:
        """Give the pipe what it takes now; close it when the worker closed its end, or all is done."""
        if self.is_closed:
            return
        try:
            while self.pending:
                count = os.write(self.pipe, self.pending)
                del self.pending[:count]
                self.taken += count
        except BlockingIOError:
            return
        except BrokenPipeError:
            self.close()
            return
        if self.is_closing:
            self.close()

    def close_after_pending(self) -> None:
        self.is_closing = True
        self.write()

    def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            os.close(self.pipe)
