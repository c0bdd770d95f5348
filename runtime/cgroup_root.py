"""Says when the group that somebody named for workers' groups cannot be used.

Workers run all the same, and each plan says what it lost by that; but whoever named a
group wanted it, and would look for a slip of the pen in the wrong place.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from .capabilities import HostCapabilities

Probe = Callable[[], Awaitable[HostCapabilities]]
_LOG = logging.getLogger(__name__)


def telling(probe: Probe, root: Path | None) -> Probe:
    """The same probe; a `root` below which no group can be made is logged each time."""
    if root is None:
        return probe

    async def told() -> HostCapabilities:
        found = await probe()
        writable = found.limits.cgroup_writable
        if not writable:
            _LOG.warning("no worker is held in control groups: --cgroup-root %s: %s", root, writable.reason)
        return found

    return told
