"""Killing all that is in control groups, and removing them.

The name of a worker's group begins with the identity of its supervisor:

    <pid>.<start ticks>.<the name of the worker's folder>

so whoever finds a group can tell whether anybody still looks after it. Pids mean
the same to all who use one parent folder, see `parent_name`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable

from . import linux

FREEZE_S_MAX = 0.1
"""How long a v1 freezer may take; what it did not reach by then is killed as it is."""

_TICK_S = 0.001
_TICK_S_MAX = 0.02
_GONE = (FileNotFoundError, ProcessLookupError)


def parent_name() -> str:
    """The folder for the groups of all supervisors of our user and our pid namespace."""
    return f"watchglass-{os.getuid()}.{os.stat('/proc/self/ns/pid').st_ino}"  # noqa: PTH116


def group_name(label: str) -> str:
    """The name of a group that this process makes."""
    return f"{os.getpid()}.{linux.own_start_ticks()}.{label[:128]}"


def members(path: str) -> set[int]:
    """The processes in the group that we can see; none when it is gone."""
    try:
        return set(map(int, linux.read_small_file(f"{path}/cgroup.procs").split())) - {0}
    except (*_GONE, OSError):
        return set()


def kill(path: str) -> set[int]:
    """SIGKILL all in the group and below it; those that were in it. Call it again until nobody is."""
    found: set[int] = set()
    for folder in _folders(path):
        found |= members(folder)
    if not found:
        return found
    if not _write(f"{path}/cgroup.kill", b"1"):
        _kill_frozen(path, found)
    return found


def destroy(paths: list[str], *, within_s: float) -> bool:
    """Kill what is in the groups of one worker, and remove them; whether they are gone.

    Blocks for at most about `within_s` seconds.
    """
    paths = [path for path in paths if not _is_removed(path)]  # Most are empty.
    if not paths:
        return True
    give_up_at = time.monotonic() + within_s
    pause_s = _TICK_S
    while True:
        for path in paths:
            kill(path)
        paths = [path for path in paths if not _remove(path)]
        if not paths:
            return True
        if time.monotonic() >= give_up_at:
            return False
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _TICK_S_MAX)


def sweep(parents: list[str], *, within_s: float) -> int:
    """Destroy the groups in these folders whose supervisors are dead; how many workers they were of."""
    left: dict[str, list[str]] = {}
    for parent in parents:
        with contextlib.suppress(OSError):
            for name in linux.names_in(parent):
                if _is_left(name):
                    left.setdefault(name, []).append(f"{parent}/{name}")
    for paths in left.values():
        destroy(paths, within_s=within_s)
    return len(left)


def remove_if_empty(parents: Iterable[str]) -> None:
    """Remove the folders in which no worker has a group any more."""
    for parent in parents:
        with contextlib.suppress(OSError):
            os.rmdir(parent)  # noqa: PTH106


def _is_left(name: str) -> bool:
    """Whether it is a group's name, and its supervisor is dead."""
    pid, _, rest = name.partition(".")
    ticks = rest.partition(".")[0]
    if not pid.isdecimal() or not ticks.isdecimal():
        return False
    try:
        return linux.start_ticks(int(pid)) != int(ticks)
    except _GONE:
        return True


def _kill_frozen(path: str, found: set[int]) -> None:
    """Without cgroup.kill: nobody who is frozen can fork while the others are killed."""
    state, frozen, thawed = f"{path}/freezer.state", b"FROZEN", b"THAWED"
    if not _write(state, frozen):
        state, frozen, thawed = f"{path}/cgroup.freeze", b"1", b"0"
        _write(state, frozen)
    _wait_frozen(path)
    try:
        for folder in _folders(path):
            found |= _kill_each(folder)
    finally:
        _write(state, thawed)


def _wait_frozen(path: str) -> None:
    give_up_at = time.monotonic() + FREEZE_S_MAX
    while time.monotonic() < give_up_at:
        try:
            if linux.read_small_file(f"{path}/freezer.state").strip() == b"FROZEN":
                return
        except FileNotFoundError:
            if b"frozen 1" in read(f"{path}/cgroup.events") or not read(f"{path}/cgroup.freeze"):
                return
        time.sleep(_TICK_S)


def _kill_each(folder: str) -> set[int]:
    """A pid is looked up again once its descriptor is open, so that no stranger is hit."""
    killed = set()
    for pid in members(folder):
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            continue
        try:
            if pid in members(folder):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                killed.add(pid)
        except (*_GONE, PermissionError):
            continue
        finally:
            os.close(pidfd)
    return killed


def _folders(path: str) -> list[str]:
    """The group and those that its processes made below it, the innermost first."""
    return [folder for folder, _folders_in, _files in os.walk(path, topdown=False)]


def _remove(path: str) -> bool:
    """Whether it is gone; somebody may still be in it."""
    return all(map(_is_removed, _folders(path)))


def _is_removed(folder: str) -> bool:
    """Try once to remove a group without groups below it."""
    try:
        os.rmdir(folder)  # noqa: PTH106
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _write(path: str, content: bytes) -> bool:
    """Whether the file is there and took it."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        os.write(fd, content)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def read(path: str) -> bytes:
    """The content of a small file; nothing when it cannot be read."""
    try:
        return linux.read_small_file(path)
    except OSError:
        return b""
