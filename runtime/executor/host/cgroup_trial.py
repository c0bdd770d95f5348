"""Tries control groups as a worker would use them, in a tree of real processes.

    a group in each place      made, limited, and the limits read back
    a child joins them         and is found in them
    it forks without end       until `pids_max` refuses
    one of them is a daemon    of a session of its own, whose parent is dead
    the tree is killed         by the group, and the daemon is seen to be gone

What does not work in this way is not offered, and the reason is kept.
"""

from __future__ import annotations

import errno
import os
import select
import signal

from . import cgroup_removal, tree
from .cgroup import Counters, Group

PIDS_MAX = 6
MEMORY_BYTES = 64 << 20
TRIAL_S_MAX = 2.0
"""How long each step may take; each takes some milliseconds where it works at all."""

Place = tuple[str, int, frozenset[str]]


class Trial:
    """One trial; `refused` are the services that did not work, with the reason."""

    def __init__(self, places: list[Place]) -> None:
        self._places = places
        self._groups: list[Group] = []
        self.refused: dict[str, str] = {}

    def run(self) -> list[dict[str, object]]:
        """The places that serve, as a plan names them, with what works there."""
        try:
            for place in self._places:
                self._make(*place)
            if self._groups:
                self._try_with_tree()
            return [
                {"path": parent, "version": group.version, "serves": sorted(group.serves)}
                for parent, group in ((os.path.dirname(group.path), group) for group in self._groups)  # noqa: PTH120
                if group.serves
            ]
        finally:
            cgroup_removal.destroy([group.path for group in self._groups], within_s=TRIAL_S_MAX)

    def _make(self, parent: str, version: int, serves: frozenset[str]) -> None:
        try:
            group = Group(parent, cgroup_removal.group_name("probe"), version, serves)
        except OSError as error:
            self._refuse(serves, error)
            return
        self._groups.append(group)
        try:
            group.limit(memory_bytes=MEMORY_BYTES, pids_max=PIDS_MAX)
            group.check_limits(memory_bytes=MEMORY_BYTES, pids_max=PIDS_MAX)
        except OSError as error:
            self._refuse(serves & {"memory", "pids"}, error)
            group.serves -= {"memory", "pids"}

    def _try_with_tree(self) -> None:
        """Whoever of the tree lives holds the pipe open."""
        alive, held = os.pipe()
        pid = os.fork()
        if pid == 0:
            _be_tree(self._groups, held)
        os.close(held)
        try:
            self._judge(_read_line(alive), pid)
            self._try_kill(alive)
        finally:
            os.close(alive)
            _kill_and_reap()

    def _judge(self, report: str, pid: int) -> None:
        """The tree says "<index of the group> <errno>" for each that refused it, and "pids <errno>"."""
        told = dict(word.split("=") for word in report.split())
        for at, group in enumerate(self._groups):
            number = int(told.get(str(at), 0))
            if number or pid not in cgroup_removal.members(group.path):
                self._drop(group, group.serves, OSError(number, os.strerror(number), group.path))
        limited = [group for group in self._groups if "pids" in group.serves]
        for group in limited:
            if int(told.get("pids", 0)) != errno.EAGAIN:
                self._drop(group, {"pids"}, OSError(0, "forks are not refused", f"{group.path}/pids.max"))
        for group in self._groups:
            self._try_counters(group)

    def _try_counters(self, group: Group) -> None:
        told = Counters()
        try:
            group.tell(told)
        except OSError as error:
            self._drop(group, group.serves & {"memory", "pids", "cpu_time"}, error)
        if "memory" in group.serves and told.oom_kills is None:
            self._drop(group, {"memory"}, OSError(0, "does not count who is killed", group.path))
        if "memory" in group.serves and told.memory_peak_bytes is None:
            self._refuse(frozenset({"memory_peak"}), OSError(0, "does not tell the most used", group.path))

    def _try_kill(self, alive: int) -> None:
        for group in self._groups:
            for service in sorted(group.serves & {"kill", "freeze"}):
                cgroup_removal.kill(group.path)
                if not _ends(alive):
                    self._drop(group, {service}, OSError(0, "the tree outlived the kill", group.path))

    def _drop(self, group: Group, services: set[str] | frozenset[str], error: OSError) -> None:
        self._refuse(frozenset(services), error)
        group.serves -= services

    def _refuse(self, services: frozenset[str], error: OSError) -> None:
        for service in services:
            self.refused[service] = f"{error.filename}: {error.strerror}"


def _be_tree(groups: list[Group], held: int) -> None:
    """Never returns."""
    try:
        said = ""
        for at, group in enumerate(groups):
            try:
                group.join()
            except OSError as error:
                said += f"{at}={error.errno} "
        if os.fork() == 0:
            os.setsid()
            if os.fork():
                os._exit(0)
            signal.pause()
        os.wait()
        os.write(held, f"{said}pids={_fork_until_refused()}\n".encode())
        signal.pause()
    finally:
        os._exit(1)


def _fork_until_refused() -> int:
    """The errno of the refusal; 0: there was none."""
    for _ in range(PIDS_MAX):
        try:
            if os.fork() == 0:
                signal.pause()
        except OSError as error:
            return error.errno or 0
    return 0


def _read_line(pipe: int) -> str:
    said = b""
    while not said.endswith(b"\n"):
        if not select.select([pipe], [], [], TRIAL_S_MAX)[0]:
            break
        part = os.read(pipe, 4096)
        if not part:
            break
        said += part
    return said.decode()


def _ends(pipe: int) -> bool:
    """Whether all who hold its other end are gone in time."""
    return bool(select.select([pipe], [], [], TRIAL_S_MAX)[0]) and not os.read(pipe, 4096)


def _kill_and_reap() -> None:
    """We are a subreaper, so all of the tree is ours in the end."""
    while True:
        tree.kill_descendants(os.getpid())
        try:
            os.wait()
        except ChildProcessError:
            return
