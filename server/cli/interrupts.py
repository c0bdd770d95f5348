"""Ctrl-C and its like as KeyboardInterrupt, but never in the middle of what must be whole."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """Raises KeyboardInterrupt in the main thread when a signal comes, or when the hold is over."""

    def __init__(self) -> None:
        self._holds = 0
        self._pending = False

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        self._pending = True
        self._raise_pending()

    @contextmanager
    def held(self) -> Iterator[None]:
        """What happens in this block is not interrupted; it must be short, or bounded."""
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1
        self._raise_pending()

    def _raise_pending(self) -> None:
        if self._pending and not self._holds:
            self._pending = False
            raise KeyboardInterrupt


@contextmanager
def interrupts() -> Iterator[Interrupts]:
    """SIGINT, SIGTERM and SIGHUP interrupt the block; after it they do what they did before."""
    handler = Interrupts()
    heeded = [number for number in _NUMBERS if signal.getsignal(number) is not signal.SIG_IGN]  # As by nohup.
    before = {number: signal.signal(number, handler) for number in heeded}
    try:
        yield handler
    finally:
        for number, old in before.items():
            signal.signal(number, old)
