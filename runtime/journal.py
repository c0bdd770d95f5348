"""What one worker's driver writes into its log: in order, and nothing that happened is left out.

    ask    an input, a produced event: refused when the store refuses it
    tell   output, a phase, the exit: it has happened, so no store can refuse it;
           what cannot be written is *owed*, and goes first when there is room again

Every append carries the stream offsets of that moment. So the log never says
more, nor less, than its offsets do, and whoever takes over after a crash knows
to the byte where to go on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

from watchglass.protocol.errors import StoreIo
from watchglass.protocol.events import Event
from watchglass.store.base import Log, Record, StreamOffsets

_LOG = logging.getLogger(__name__)


class Asked(NamedTuple):
    """What was taken. `unsynced`: it is written and visible, but would not survive a loss of power."""

    records: Sequence[Record]
    unsynced: StoreIo | None


class Journal:
    """The writing side of one worker's log. Used by its driver alone, one call at a time."""

    def __init__(self, log: Log, offsets: Callable[[], StreamOffsets | None]) -> None:
        """`offsets` says what the process's streams have come to; None: there are no streams."""
        self._log = log
        self._offsets = offsets
        self._owed: list[Event] = []
        self._owed_durably = False
        self._outage: str | None = None

    @property
    def owes(self) -> bool:
        """Whether something that happened is not written yet."""
        return bool(self._owed)

    @property
    def outage(self) -> str | None:
        """Why what is owed could not be written; None when nothing is owed."""
        return self._outage

    async def ask(
        self, *events: Event, facts: Sequence[Event] = (), offsets: StreamOffsets | None = None
    ) -> Asked:
        """Write what may be refused, durably, after `facts`, which may not: they are owed then.

        `offsets`: as they are when it is taken.

        Raises:
            StoreIo: Nothing of `events` is written.
            InvalidRequest, StoreMissing: As `Log.append`.
        """
        self._owed += facts
        first = len(self._owed)
        written = await self._write([*self._owed, *events], durable=True, offsets=offsets or self._offsets())
        self._owed, self._owed_durably = [], False
        return Asked(written.records[first:], written.unsynced)

    async def tell(self, *events: Event, durable: bool = False) -> bool:
        """Write what has happened, or owe it; whether all is written.

        Raises:
            InvalidRequest, StoreMissing: As `Log.append`.
        """
        self._owed += events
        self._owed_durably |= durable
        return await self.settle()

    async def settle(self) -> bool:
        """Write what is owed, if the store takes it; whether nothing is owed any more."""
        if self._owed:
            try:
                written = await self._write(self._owed, durable=self._owed_durably, offsets=self._offsets())
            except StoreIo as fault:
                if self._outage is None:  # Once an outage.
                    _LOG.warning("events wait until the store takes writes again: %s", fault)
                self._outage = str(fault)
                return False
            if written.unsynced is not None:
                _LOG.error("events are written, but not synced: %s", written.unsynced)
            self._owed, self._owed_durably = [], False
        self._outage = None
        return True

    async def _write(self, events: Sequence[Event], *, durable: bool, offsets: StreamOffsets | None) -> Asked:
        before = self._log.head
        try:
            return Asked(await self._log.append(events, durable=durable, offsets=offsets), None)
        except StoreIo as fault:
            if self._log.head == before:
                raise
            # It is in the log, where everybody sees it: taking it back would be the lie.
            return Asked(await self._log.read(after=before, max_records=len(events)), fault)
