"""The last resort: find a worker's processes by the cookie in their environment, and kill them.

For when the supervisor was killed, and perhaps the spawn daemon too. It finds
every process that kept the environment it was started with; one that cleared it
is found only by the spawn daemon, through its parents.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import time
from collections.abc import Set as AbstractSet
from pathlib import Path

SWEEP_S_MAX = 5.0
"""What lives after so many seconds of SIGKILL is stuck in the kernel."""

_PAUSE_S = 0.002
_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
_LOG = logging.getLogger(__name__)


class Sweeper:
    """One sweep at a time; who asks while one runs shares the next, be it a thousand."""

    def __init__(self) -> None:
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._task: asyncio.Task[None] | None = None

    async def sweep(self, cookie: str) -> None:
        """Return when no process with `cookie` in its environment is left (that the kernel lets die)."""
        if cookie not in self._waiting:
            self._waiting[cookie] = asyncio.get_running_loop().create_future()
        swept = self._waiting[cookie]
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())
        await asyncio.shield(swept)

    async def close(self) -> None:
        """Wait for what was asked for."""
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        try:
            while self._waiting:
                asked, self._waiting = self._waiting, {}
                try:
                    await asyncio.to_thread(sweep, asked.keys())
                except OSError as fault:  # It was tried for a while; nobody is helped who waits on.
                    _LOG.error("cannot look for what is left of workers: %s", fault)
                finally:
                    for swept in asked.values():
                        swept.set_result(None)
        finally:
            self._task = None


def sweep(cookies: AbstractSet[str]) -> int:
    """Kill every process with one of `cookies` in its environment, until none is left.

    Returns how many there were. Blocks for up to SWEEP_S_MAX seconds: to be called in a thread.

    Raises:
        OSError: For so long the system had not what it takes to look, such as a free descriptor.
    """
    entries = {os.fsencode(cookie) for cookie in cookies}
    killed: set[int] = set()
    give_up_at = time.monotonic() + SWEEP_S_MAX
    while True:
        is_late = time.monotonic() > give_up_at
        try:
            found = _kill_all(entries)
        except OSError:
            if is_late:
                raise
        else:
            killed |= found
            if is_late or not found:
                return len(killed)
        time.sleep(_PAUSE_S)


def _kill_all(entries: set[bytes]) -> set[int]:
    return {pid for pid in _pids() if _kill_if_marked(pid, entries)}


def _pids() -> list[int]:
    own = os.getpid()
    return [
        int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit() and int(path.name) != own
    ]


def _kill_if_marked(pid: int, entries: set[bytes]) -> bool:
    """The descriptor is opened before the environment is read, so both are of one process."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError as fault:
        if fault.errno in _SHORTAGES:
            raise
        return False  # Gone, or a kernel thread.
    try:
        if entries.isdisjoint(Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")):
            return False
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except OSError as fault:
        if fault.errno in _SHORTAGES:
            raise
        return False  # Gone, or somebody else's.
    finally:
        os.close(pidfd)
    return True
