"""Finding a worker that an earlier server started: is it there, and who watches over it?

A launch holds a lock (flock) on the worker's folder. The server takes it, and
hands the locked descriptor to the supervisor together with the plan; so it is
held, whoever dies, until run.json tells of a program that runs, or until it is
certain that none will. A dead server's lock on a plan that it did not send in
whole ends with the supervisor, which leaves at that.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from watchglass.protocol.errors import LaunchFailed

from ._spawner import Forked
from .host import linux, wire
from .host.record import EXIT, RUN

_PAUSE_S_MIN = 0.001
_PAUSE_S_MAX = 0.05
_CONNECT_PAUSE_S = 0.02
_NOT_YET = (errno.ENOENT, errno.ECONNREFUSED, errno.EAGAIN)
_NO_PROCESS = (errno.ESRCH, errno.EINVAL, errno.ENOENT)  # The last two: the number is a thread's now.


class Run(NamedTuple):
    """What run.json says. Zeros: it is there, so the program ran, but it is damaged."""

    boot_id: str = ""
    supervisor_pid: int = 0
    supervisor_ticks: int = 0
    pid: int = 0
    started_at_us: int = 0
    cgroups: tuple[str, ...] = ()
    uid: int | None = None


def lock_launch(directory: Path) -> int:
    """The worker's folder, locked for a launch; to be closed by the caller.

    Raises:
        LaunchFailed: There is no such folder, or another launch in it is under way.
    """
    try:
        fd = _open(directory)
    except OSError as error:
        raise LaunchFailed("setup", str(directory), error.errno or errno.EIO) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        raise LaunchFailed("setup", str(directory), error.errno or errno.EIO) from error
    return fd


async def launch_decided(directory: Path) -> None:
    """Return when no launch is under way in the folder, which is at once unless its server just died.

    The lock itself is asked, in growing steps: who waits for one in the kernel cannot be cancelled.

    Raises:
        OSError: The folder cannot be opened.
    """
    pause_s = _PAUSE_S_MIN
    with _opened(directory) as fd:
        while True:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _PAUSE_S_MAX)


def read_run(directory: Path) -> Run | None:
    """What run.json says; None: the program never ran. Raises OSError."""
    try:
        content = (directory / RUN).read_bytes()
    except FileNotFoundError:
        return None
    try:
        told = json.loads(content)
        return Run(
            boot_id=str(told["boot_id"]),
            supervisor_pid=int(told["supervisor"]["pid"]),
            supervisor_ticks=int(told["supervisor"]["start_ticks"]),
            pid=int(told["worker"]["pid"]),
            started_at_us=int(told["started_at_us"]),
            cgroups=tuple(map(str, told.get("cgroups", ()))),
            uid=dict(told.get("plan", {})).get("uid"),
        )
    except (ValueError, KeyError, TypeError):
        return Run()


def is_held(directory: Path, run: Run) -> bool:
    """Whether the supervisor that wrote this run.json may still have the worker, if it lives.

    Once exit.json is there it may have another one.
    """
    return run.boot_id == linux.boot_id() and not (directory / EXIT).exists()


def find_supervisor(directory: Path, run: Run) -> Forked | None:
    """The supervisor that has the worker in the folder; never another process with its number.

    The descriptor is opened before the process is looked at, so both are of one process.

    Raises:
        OSError: No descriptor is free.
    """
    if not is_held(directory, run):
        return None
    try:
        pidfd = os.pidfd_open(run.supervisor_pid)
    except OSError as error:
        if error.errno in _NO_PROCESS:
            return None
        raise
    try:
        is_it = linux.start_ticks(run.supervisor_pid) == run.supervisor_ticks
    except (FileNotFoundError, ProcessLookupError):
        is_it = False
    if not is_it:
        os.close(pidfd)
        return None
    return Forked(run.supervisor_pid, pidfd)


async def connect(directory: Path, gone: asyncio.Event) -> socket.socket | None:
    """A connection to the supervisor of the worker in the folder; None: it has left.

    One that listens no more, or has no room for us, is asked again until `gone`.

    Raises:
        OSError: It cannot be reached at all.
    """
    while not gone.is_set():
        with _opened(directory) as fd:
            ours = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            try:
                ours.connect(wire.control_path(fd))
            except OSError as error:
                ours.close()
                if error.errno not in _NOT_YET:
                    raise
            else:
                return ours
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CONNECT_PAUSE_S):
                await gone.wait()
    return None


@contextlib.contextmanager
def _opened(directory: Path) -> Iterator[int]:
    fd = _open(directory)
    try:
        yield fd
    finally:
        os.close(fd)


def _open(directory: Path) -> int:
    return os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
