"""What the logs of one store share: the disk, the numbers, the bounds, and who must do something soon."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from watchglass.store.base import Onlooker, Retention
from watchglass.store.numbering import Numbering

from .files import Files
from .loading import Salvage
from .replay import Remembered
from .wal import WriteAhead

if TYPE_CHECKING:
    from .log import FileLog

SEGMENT_BYTES_MAX = 8 << 20
SEGMENTS_KEPT = 8
"""Retention drops whole segments, so a segment is at most this part of what may be kept."""
_SEEN_S = 100e-6
"""For how long the workers' folders that were there are taken to be there."""


@dataclass(slots=True)
class Ground:
    """What the logs of a store share."""

    files: Files
    numbering: Numbering
    retention: Retention
    salvage: Salvage
    workers: str
    """The directory of the workers' folders."""
    wal: WriteAhead | None = None
    """None: a durable append is an append, and nothing is synced."""
    remembered: Remembered = field(default_factory=Remembered)
    dirty: dict[FileLog, None] = field(default_factory=dict)
    """Logs that wrote since the last sync, or have something pending."""
    leftover: list[str] = field(default_factory=list)
    """Files of dropped segments that could not be removed yet."""
    onlooker: Onlooker | None = None
    look_at_s: float = 0.0
    """When it is time to `look` again, by `perf_counter`."""
    seen: tuple[int, int] = (0, 0)
    """The workers' directory when it was looked at; another value when a folder came or went."""
    segment_bytes: int = field(init=False)
    """What a segment holds at most, unless one append is more …"""
    segment_events: int = field(init=False)
    """… and how many events."""
    age_us: int | None = field(init=False)
    """How old an event may become; None: any age."""

    def __post_init__(self) -> None:
        bounds = self.retention
        self.segment_bytes = max(1, min(SEGMENT_BYTES_MAX, bounds.max_bytes // SEGMENTS_KEPT))
        self.segment_events = max(1, bounds.max_events // SEGMENTS_KEPT)
        self.age_us = None if bounds.max_age_s is None else bounds.max_age_s * 1_000_000

    def look(self, now_s: float) -> None:
        """See whether somebody removed a worker's folder; one look serves all logs, for it is dear."""
        self.look_at_s = now_s + _SEEN_S
        try:
            found = self.files.stat(self.workers)
        except OSError:
            self.seen = (0, 0)
        else:
            self.seen = (found.st_mtime_ns, found.st_nlink)
