"""How far sequences may have been issued, kept ahead of them on the disk.

    ceiling     {"below":"<16 hex>","crc":"…"}

A sequence is used only when it lies below what the file says, so a process
that begins at the file's value issues none twice, whatever was lost, deleted
or trimmed, and whatever the clock does. A clean close writes the exact end, so
a clean restart does not run ahead of the time. One after a kill does, by at most
the room that was left; while it does, room is taken in small steps, so that a
server that is killed again and again does not run further and further ahead.
"""

from __future__ import annotations

import threading

from watchglass.protocol.cursor import Seq
from watchglass.protocol.errors import StoreIo
from watchglass.store.numbering import ClockUs

from .files import Files, fault_of
from .seal import sealed_json, unsealed_json

AHEAD_US = 60_000_000
"""Room ahead of the clock."""
STEP = 1_000_000
"""Room for so many events, when sequences are ahead of the clock already."""


class FileCeiling:
    """The ceiling of one store: lifted by the numbering when it must be, renewed by another thread before."""

    def __init__(self, path: str, files: Files, clock_us: ClockUs) -> None:
        self._path = path
        self._files = files
        self._clock_us = clock_us
        self._writing = threading.Lock()
        self._kept = 0
        self.below = 0

    def lift(self, seq: Seq) -> None:
        """Make room for a sequence at once: the clock leapt. Raises StoreIo."""
        try:
            self.renew(seq)
        except OSError as fault:
            raise StoreIo("write", self._path, fault.strerror or str(fault)) from fault
        self.take_renewed()

    def is_near(self, seq: Seq) -> bool:
        """Whether half of the room is used, so that it is time to renew it."""
        return self.below - seq < STEP // 2 or self.below - self._clock_us() < AHEAD_US // 2

    def renew(self, seq: Seq) -> None:
        """Keep room after a sequence on the disk, from any thread. Raises OSError."""
        below = max(seq + STEP, self._clock_us() + AHEAD_US)
        with self._writing:
            if self._kept < below:
                self._write(below)

    def take_renewed(self) -> None:
        """Use what is on the disk."""
        self.below = self._kept

    def settle(self, last: Seq) -> None:
        """Say exactly what was issued: nothing will follow. Raises OSError."""
        with self._writing:
            self._write(last + 1)
            self.below = self._kept

    def _write(self, below: int) -> None:
        self._files.replace(self._path, sealed_json({"below": f"{below:016x}"}), synced=True)
        self._kept = below


def kept_ceiling(path: str, files: Files) -> Seq | None:
    """What the file says; None when there is none, or none that can be trusted.

    Raises:
        StoreIo: It cannot be read.
    """
    try:
        facts = unsealed_json(files.read_whole(path))
    except FileNotFoundError:
        return None
    except OSError as fault:
        raise fault_of("read", path, fault) from fault
    return None if facts is None else Seq(int(facts["below"], 16))
