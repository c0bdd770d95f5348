"""Chance in a client: who lost the same server at once does not come back at once."""

from __future__ import annotations

import random


def jitter() -> float:
    """From 0 to 1, another each time."""
    return random.random()  # noqa: S311 - It spreads requests and guards nothing.
