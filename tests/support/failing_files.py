"""A disk that fails when a test says so: at one step, or at one and for ever after."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from watchglass.store.filesystem.files import Files

STEPS = (
    "open",
    "pread",
    "pwrite",
    "truncate",
    "fdatasync",
    "fsync",
    "sync_disk",
    "rename",
    "unlink",
    "mkdir",
    "rmtree",
)
_SYNCS = {"fdatasync", "fsync", "sync_disk"}


class Failure(StrEnum):
    """What happens at the step."""

    IO = "an I/O error"
    SHORT = "a disk that is full in the middle of a write"
    KILLED = "a kill before it"
    KILLED_WITHIN = "a kill in the middle of a write"


KILLS = (Failure.KILLED, Failure.KILLED_WITHIN)
OF_WRITES = (Failure.SHORT, Failure.KILLED_WITHIN)


class FailingFiles(Files):
    """Counts its steps from 1 on and fails at the given one; at none while it is 0.

    Syncing costs time and proves nothing here, so it is counted and not done.
    """

    def __init__(self, fail_at: int = 0, failure: Failure = Failure.IO) -> None:
        self.fail_at = fail_at
        self.failure = failure
        self.taken: list[str] = []
        self.dead = False
        for name in STEPS:
            setattr(self, name, self._step(name, getattr(Files, name)))

    @property
    def is_over(self) -> bool:
        """Whether nothing will fail any more."""
        return not self.dead and len(self.taken) >= self.fail_at

    def _step(self, name: str, act: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **options: Any) -> Any:
            if not self.dead:
                self.taken.append(name)
                if len(self.taken) != self.fail_at:
                    return None if name in _SYNCS else act(*args, **options)
                self.dead = self.failure in KILLS
                if self.failure in OF_WRITES:
                    fd, data, offset = args
                    written = os.pwrite(fd, data[: len(data) // 2], offset)
                    if self.failure is Failure.SHORT:
                        return written
            if options.get("ignore_errors"):
                return None
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        return step
