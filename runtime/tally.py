"""What a runtime has counted since it started; `server/metrics.py` shows it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Tally:
    """Plain counters, written where things happen."""

    workers_created: int = 0
    launches_failed: int = 0
    inputs_accepted: int = 0
    inputs_refused: int = 0
    events_appended: int = 0
    event_bytes_appended: int = 0
    workers_ended: Counter[str] = field(default_factory=Counter)
