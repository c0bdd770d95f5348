"""How many connections there may be, and which one makes room for the next.

Connections take at most half of the descriptors that this process may have; the
others are for workers and the journal. So clients that connect and ask nothing
cost each other their places, and nobody else anything.
"""

from __future__ import annotations

import asyncio
import logging
import math
import resource
import sys
from collections.abc import Collection
from operator import attrgetter
from typing import Final, Protocol

TELL_EVERY_S: Final = 60.0
_LOG = logging.getLogger(__name__)


class Guest(Protocol):
    """A connection, as far as it matters here."""

    @property
    def transport(self) -> asyncio.WriteTransport:
        """Where it is written to."""

    @property
    def asked_s(self) -> float:
        """When it was last answered, or accepted."""

    @property
    def is_asked(self) -> bool:
        """Whether something is being answered."""


class Room:
    """The room of one server. `size` connections fit."""

    def __init__(self) -> None:
        files_max, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.size = sys.maxsize if files_max == resource.RLIM_INFINITY else files_max // 2
        self._told_s = -math.inf

    def has_place(self, present: Collection[Guest], now_s: float) -> bool:
        """Whether one more may come; if need be, the one on which nothing was asked for longest is ended."""
        if len(present) < self.size:
            return True
        if now_s - self._told_s >= TELL_EVERY_S:
            self._told_s = now_s
            _LOG.warning("there are %d connections: the next ones take the places of idle ones", self.size)
        idle = [each for each in present if not each.is_asked and not each.transport.is_closing()]
        if idle:
            min(idle, key=attrgetter("asked_s")).transport.abort()
        return bool(idle)
