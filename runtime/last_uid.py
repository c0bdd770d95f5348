"""Where a runtime stopped giving users to workers, so that the next one goes on behind it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from watchglass.store.base import Store

LAST_UID = "worker-uid"


class LastUid:
    """The number that was given last, in a file: `1900000123` and a line feed.

    It is not synced. What a loss of power takes of it makes numbers come again sooner.
    """

    def __init__(self, path: Path | None) -> None:
        """None: nothing is kept."""
        self._path = path

    def read(self) -> int | None:
        """None: there is none, or none that can be understood."""
        if self._path is None:
            return None
        try:
            return int(self._path.read_bytes())
        except (OSError, ValueError):
            return None

    def keep(self, uid: int) -> None:
        """In place, so that a full disk takes it; one that refuses it only loses the order."""
        if self._path is None:
            return
        with contextlib.suppress(OSError):
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                os.pwrite(fd, b"%010d\n" % uid, 0)
            finally:
                os.close(fd)


def last_uid_in(store: Store) -> LastUid:
    """That of a store that keeps its data."""
    return LastUid(None if store.durability == "none" else store.path / LAST_UID)
