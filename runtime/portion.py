"""How much of a worker's output is taken in one turn of its driver.

Bytes cost little and events much: 64 KiB may be two events, or thirty thousand of a
worker that prints empty words in lines of their own. Everybody else waits for the turn,
so the portion follows what the last one became: it doubles while there are few events,
and shrinks at once to what would have been enough.
"""

from __future__ import annotations

from typing import Final

BYTES_MIN: Final = 1 << 10
BYTES_FIRST: Final = 4 << 10
BYTES_MAX: Final = 64 << 10
EVENTS_MAX: Final = 1024
"""About as many as can be written in a hundredth of a second."""


class Portion:
    """Of one worker: `size_bytes` is the most to take now."""

    __slots__ = ("size_bytes",)

    def __init__(self) -> None:
        self.size_bytes = BYTES_FIRST

    def became(self, events: int) -> None:
        """The last portion was taken, and was so many events."""
        if events > EVENTS_MAX:
            self.size_bytes = max(BYTES_MIN, self.size_bytes * EVENTS_MAX // events)
        elif 2 * events <= EVENTS_MAX:
            self.size_bytes = min(BYTES_MAX, 2 * self.size_bytes)
