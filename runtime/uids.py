"""Which users workers are, when the server is root and can choose.

What a worker leaves outside its workspace stays its user's, so the same number is
another worker's as late as it can be:

    not given yet    from where an earlier runtime stopped, to the end, then from `base`
    given back       those that were longest ago first

A number is never given while a process of the host is that user, whosever it is.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections import deque
from collections.abc import Callable
from itertools import chain
from typing import Final, Literal

from watchglass.protocol.errors import LaunchFailed
from watchglass.protocol.identity import WorkerId

from .last_uid import LastUid

WORKER_UID_BASE = 1_900_000_000
"""Above what systemd hands out to containers, and above what subuid(5) maps by default."""

WORKER_UID_COUNT = 1 << 16
"""From there on, as many as one container gets of its own."""

OwnUids = Literal["sandboxed", "all"]
"""Who is to be a user of its own: who is kept by a sandbox or by Landlock, or everybody."""
OWN_UIDS: Final[tuple[OwnUids, ...]] = ("sandboxed", "all")


def worker_uids(base: int, count: int | None, *, running_max: int) -> range:
    """The users that workers can be, where `count` may be left out.

    Above a base of their own nobody knows who else is there: then no more than run at once.
    """
    if count is None:
        count = max(WORKER_UID_COUNT, running_max) if base == WORKER_UID_BASE else running_max
    return range(base, base + count)


def has_processes(uid: int) -> bool:
    """Whether a process that we can see is this user; getpriority(2) tells without a look at each."""
    signed = (uid + (1 << 31)) % (1 << 32) - (1 << 31)  # As C takes it.
    try:
        os.getpriority(os.PRIO_USER, signed)
    except ProcessLookupError:
        return False
    return True


class WorkerUids:
    """Numbers of a range; no two active workers have the same, and each rests as long as it can."""

    def __init__(
        self,
        uids: range,
        last: LastUid | None = None,
        *,
        is_used: Callable[[int], bool] = has_processes,
    ) -> None:
        """Go on behind the `last` one; without it anywhere, for nobody knows what was given before."""
        self._uids = uids
        self._last = last or LastUid(None)
        self._is_used = is_used
        given = self._last.read()
        start = secrets.randbelow(len(uids)) if given is None or given not in uids else uids.index(given) + 1
        self._fresh = chain(uids[start:], uids[:start])
        self._restored: set[int] = set()  # Of those that are fresh.
        self._resting: deque[int] = deque()  # The longest first.
        self._held: dict[WorkerId, int] = {}

    def take(self, worker_id: WorkerId) -> int:
        """The worker's number, which it holds until it is released.

        Raises:
            LaunchFailed: Workers hold them all, or somebody else's processes do.
        """
        if worker_id not in self._held:
            self._held[worker_id] = self._next()
            self._last.keep(self._held[worker_id])
        return self._held[worker_id]

    def restore(self, worker_id: WorkerId, uid: int) -> None:
        """A worker that runs already is this user. To be told before the first is taken."""
        self._held[worker_id] = uid
        self._restored.add(uid)

    def release(self, worker_id: WorkerId) -> None:
        """Nothing of the worker is left: its number may be another one's, after all that rest now."""
        uid = self._held.pop(worker_id, None)
        if uid is not None and uid in self._uids:
            self._resting.append(uid)

    def _next(self) -> int:
        for uid in self._fresh:
            if uid in self._restored:  # It rests once it is given back.
                continue
            if not self._is_used(uid):
                return uid
            self._resting.append(uid)
        held = set(self._held.values())
        for _ in range(len(self._resting)):
            uid = self._resting.popleft()
            if uid not in held and not self._is_used(uid):
                return uid
            self._resting.append(uid)
        all_of_them = f"users {self._uids[0]} to {self._uids[-1]}, all in use (see --worker-uid-count)"
        raise LaunchFailed("identity", all_of_them, errno.EUSERS)
