"""Who has a runtime's directory open, asked without taking it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import NamedTuple

import orjson


class Holder(NamedTuple):
    """Who has a runtime's directory open, as far as the lock file tells."""

    pid: int | None
    since: str | None


def holder_of(path: Path) -> Holder | None:
    """Who holds a runtime's lock; None when nobody does. It is asked for an instant, and not taken."""
    try:
        fd = os.open(f"{path}/lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        try:
            said = orjson.loads(os.pread(fd, 4096, 0))
            return Holder(int(said["pid"]), str(said["since"]))
        except (ValueError, KeyError, TypeError):
            return Holder(None, None)
    finally:
        os.close(fd)
    return None
