"""A worker's input on the server's side: accepted, sent in frames within a window, taken."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from .host import wire


class Input:
    """One stream of bytes to the worker, in order; nothing here waits.

        accepted ≥ sent ≥ taken        sent - taken ≤ the window of `host/wire.py`

    An adopted worker's stream goes on at `resume`.
    """

    def __init__(self, send: Callable[[int, bytes], None], *, is_closed: bool) -> None:
        """`is_closed`: the worker was launched without any."""
        self.is_closing = is_closed
        self.is_closed = is_closed
        self._send = send
        self._unsent: deque[memoryview] = deque()
        self._accepted_bytes = 0
        self._sent_bytes = 0
        self._taken_bytes = 0

    @property
    def backlog_bytes(self) -> int:
        """Accepted and not taken."""
        return self._accepted_bytes - self._taken_bytes

    def resume(self, *, received_bytes: int, taken_bytes: int, is_closing: bool) -> None:
        """Go on behind what the supervisor received from somebody else."""
        self._accepted_bytes = self._sent_bytes = received_bytes
        self._taken_bytes = taken_bytes
        self.is_closing = is_closing

    def write(self, data: bytes) -> None:
        """After the end it only counts."""
        self._accepted_bytes += len(data)
        if data and not self.is_closed and not self.is_closing:
            self._unsent.append(memoryview(data))
            self._push()

    def close(self) -> None:
        """Send the end, after everything written before."""
        if not self.is_closing:
            self.is_closing = True
            self._push()

    def on_taken(self, total_bytes: int) -> None:
        """The worker has taken so many bytes in all: there is room for more."""
        self._taken_bytes = total_bytes
        self._push()

    def on_closed(self) -> None:
        """No further input can be delivered."""
        self.is_closed = True
        self._unsent.clear()

    def _push(self) -> None:
        """As much as the window allows, and the end after the last of it."""
        while self._unsent:
            room = wire.INPUT_WINDOW_BYTES - (self._sent_bytes - self._taken_bytes)
            if room <= 0:
                return
            size = min(room, wire.INPUT_FRAME_BYTES_MAX)
            first = self._unsent.popleft()
            if len(first) > size:
                self._unsent.appendleft(first[size:])
            piece = bytes(first[:size])
            self._sent_bytes += len(piece)
            self._send(wire.INPUT, piece)
        if self.is_closing:
            self._send(wire.CLOSE_STDIN, b"")
