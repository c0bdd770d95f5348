"""A clock that a test sets."""

from __future__ import annotations


class Clock:
    """Microseconds since 1970; it stands still until it is told."""

    def __init__(self, now_us: int = 1_700_000_000_000_000) -> None:
        self.now_us = now_us

    def __call__(self) -> int:
        return self.now_us
