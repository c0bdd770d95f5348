"""A worker's control groups: made before it is forked, joined before it is the program.

One group in each hierarchy that serves us; which files there do what, by version:

              v2                                        v1
    memory    memory.max, memory.swap.max 0,            memory.limit_in_bytes,
              memory.oom.group 1                        memory.memsw.limit_in_bytes
    pids      pids.max                                  pids.max
    cpu_time  cpu.stat, also without any controller     cpuacct.usage_user, cpuacct.usage_sys
    kill      cgroup.kill
    freeze                                              freezer.state

A new group's counters begin at 0, so they tell of this worker alone. Nothing here
is undone by the worker: a process leaves its group only with the rights of ours.
"""

from __future__ import annotations

import contextlib
import errno
import os

from . import cgroup_removal, linux
from .cloning import fork_into

REMOVE_S_MAX = 1.0
"""How long a group may take to become removable when its worker's tree is empty."""

_MAKE_ATTEMPTS_MAX = 8
_V1_CONTROLLERS = {"memory": "memory", "pids": "pids", "cpu_time": "cpuacct", "freeze": "freezer"}
"""Which of v1 gives a service; the one hierarchy of v2 has no controller in its name."""


class CgroupRefused(OSError):
    """A group cannot be made or limited; `filename` says what refused."""


class Counters:
    """What the groups of one worker counted; None where no group does."""

    __slots__ = ("cpu_us", "forks_refused", "memory_peak_bytes", "oom_kills")

    def __init__(self) -> None:
        self.cpu_us: tuple[int, int] | None = None  # User and system.
        self.memory_peak_bytes: int | None = None
        self.oom_kills: int | None = None
        self.forks_refused: int | None = None


class Group:
    """The worker's group in one hierarchy."""

    __slots__ = ("path", "serves", "version")

    def __init__(self, parent: str, name: str, version: int, serves: frozenset[str]) -> None:
        """Make it. Raises OSError, with the file or folder that refused."""
        self.path = f"{parent}/{name}"
        self.version = version
        self.serves = serves
        for attempt in range(_MAKE_ATTEMPTS_MAX):
            try:
                os.mkdir(self.path, 0o755)  # noqa: PTH102
            except FileNotFoundError:  # The first one in this folder, or the last one before just left.
                if attempt == _MAKE_ATTEMPTS_MAX - 1:
                    raise
                make_parent(parent, version, serves)
            else:
                return

    def limit(self, *, memory_bytes: int | None, pids_max: int | None) -> None:
        """Set what this group serves of it. Raises OSError."""
        if memory_bytes is not None and "memory" in self.serves:
            self._limit_memory(b"%d" % memory_bytes)
        if pids_max is not None and "pids" in self.serves:
            self._write("pids.max", b"%d" % pids_max)

    def check_limits(self, *, memory_bytes: int, pids_max: int) -> None:
        """Raises OSError: a limit that was set does not read back."""
        limit = "memory.max" if self.version == 2 else "memory.limit_in_bytes"
        for service, name, expected in (("memory", limit, memory_bytes), ("pids", "pids.max", pids_max)):
            if service in self.serves and self._number(name) != expected:
                raise OSError(errno.EIO, "does not read back", f"{self.path}/{name}")

    @property
    def name(self) -> str:
        """Its own folder's."""
        return self.path.rpartition("/")[2]

    def join(self) -> None:
        """Move the process that calls it, and has one thread, here. Raises OSError.

        v1 moves a thread that moves itself at once. For a process the kernel waits, see `cloning.py`.
        """
        self._write("cgroup.procs" if self.version == 2 else "tasks", b"0")

    def fork(self) -> int:
        """Fork a child that is in it from the start; only a v2 group can do so. Raises OSError."""
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return fork_into(folder)
        finally:
            os.close(folder)

    def cpu_us(self) -> tuple[int, int]:
        """User and system time, µs, of all that ever was in it. Raises OSError."""
        if self.version == 2:
            told = self._table("cpu.stat")
            return told["user_usec"], told["system_usec"]
        return self._number("cpuacct.usage_user") // 1000, self._number("cpuacct.usage_sys") // 1000

    def tell(self, told: Counters) -> None:
        """Add what this group counts. Raises OSError."""
        if "cpu_time" in self.serves:
            told.cpu_us = self.cpu_us()
        if "pids" in self.serves:
            told.forks_refused = self._table("pids.events").get("max")
        if "memory" in self.serves:
            told.oom_kills = self._oom_kills()
            peak = "memory.peak" if self.version == 2 else "memory.max_usage_in_bytes"
            with contextlib.suppress(FileNotFoundError):  # A v2 before Linux 5.19 has none.
                told.memory_peak_bytes = self._number(peak)

    def _oom_kills(self) -> int | None:
        """Processes that the kernel killed for want of memory. Raises OSError.

        Where it kills a whole group (v2), it kills the one that it chose first once more with
        the others, and counts that (oom_kill_process in mm/oom_kill.c).
        """
        if self.version == 1:
            return self._table("memory.oom_control").get("oom_kill")
        told = self._table("memory.events")
        killed = told.get("oom_kill")
        if not killed:
            return killed
        return max(1, killed - told.get("oom_group_kill", 1))  # Since Linux 5.17 it says how often.

    def _limit_memory(self, limit: bytes) -> None:
        """With swap, so that a limit is not just a push to the disk; a kernel without it has no such file."""
        if self.version == 2:
            self._write("memory.max", limit)
            self._write_if_there("memory.swap.max", b"0")
            self._write_if_there("memory.oom.group", b"1")
        else:
            self._write("memory.limit_in_bytes", limit)
            self._write_if_there("memory.memsw.limit_in_bytes", limit)

    def _write_if_there(self, name: str, content: bytes) -> None:
        try:
            self._write(name, content)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:  # v1 without swap accounting has the file all the same.
                raise

    def _write(self, name: str, content: bytes) -> None:
        write(f"{self.path}/{name}", content)

    def _number(self, name: str) -> int:
        return int(linux.read_small_file(f"{self.path}/{name}"))

    def _table(self, name: str) -> dict[str, int]:
        """A file of lines "name number"."""
        words = linux.read_small_file(f"{self.path}/{name}").decode().split()
        return {key: int(value) for key, value in zip(words[::2], words[1::2], strict=True)}


class Groups:
    """All groups of one worker; there may be none."""

    __slots__ = ("_born_in", "_groups")

    def __init__(
        self,
        folders: list[dict[str, object]],
        label: str,
        *,
        memory_bytes: int | None,
        pids_max: int | None,
    ) -> None:
        """Make them and set the limits. `folders` as in the plan; `label` is for people who look there.

        Raises:
            CgroupRefused: One cannot be made or limited; then none is left.
        """
        self._groups: list[Group] = []
        self._born_in: Group | None = None
        if not folders:
            return
        name = cgroup_removal.group_name(label)
        try:
            for told in folders:
                serves = frozenset(map(str, told["serves"]))  # type: ignore[call-overload]  # A list in JSON.
                version = 2 if told["version"] == 2 else 1
                self._groups.append(Group(str(told["path"]), name, version, serves))
            for group in self._groups:
                group.limit(memory_bytes=memory_bytes, pids_max=pids_max)
        except OSError as error:
            self.remove()
            raise CgroupRefused(error.errno, error.strerror, error.filename) from None

    @property
    def paths(self) -> list[str]:
        return [group.path for group in self._groups]

    def serving(self, service: str) -> Group | None:
        """The group for it, if there is one."""
        return next((group for group in self._groups if service in group.serves), None)

    def fork(self) -> int:
        """As `os.fork`; the child is to `join` before anything else. Raises OSError."""
        for group in self._groups:
            if group.version == 2:
                self._born_in = group
                try:
                    return group.fork()
                except OSError:  # An older kernel, or a filter around us: it can still join.
                    self._born_in = None
        return os.fork()

    def join(self) -> None:
        """In the forked child. Raises OSError."""
        for group in self._groups:
            if group is not self._born_in:
                group.join()

    def holding(self, told: bytes) -> list[str]:
        """What those of them serve that a process is in; `told` is its /proc/PID/cgroup, see cgroups(7).

        Only the last name of a path counts: it is the worker's own, and how much stands before
        it depends on where the file system is mounted and on the namespace of who reads.
        """
        names: dict[str, str] = {}
        for line in told.decode().splitlines():
            _number, controllers, path = line.split(":", 2)
            name = path.rpartition("/")[2].removesuffix(" (deleted)")
            names.update(dict.fromkeys(controllers.split(","), name))
        return sorted(
            service
            for group in self._groups
            for service in group.serves
            if names.get("" if group.version == 2 else _V1_CONTROLLERS[service]) == group.name
        )

    def kill(self) -> set[int]:
        """SIGKILL all that is in them; who that was. Nobody when no group can kill a tree at once."""
        group = self.serving("kill") or self.serving("freeze")
        return set() if group is None else cgroup_removal.kill(group.path)

    def counters(self) -> Counters:
        """What they counted so far; a group that somebody removed tells nothing."""
        told = Counters()
        for group in self._groups:
            with contextlib.suppress(OSError):
                group.tell(told)
        return told

    def remove(self) -> bool:
        """Once the tree is empty; whether they are gone.

        What cannot be removed in REMOVE_S_MAX is left to the next probe after the supervisor's end.
        """
        paths, self._groups = self.paths, []
        return cgroup_removal.destroy(paths, within_s=REMOVE_S_MAX)


def make_parent(path: str, version: int, serves: frozenset[str]) -> None:
    """Make the folder for workers' groups, with the v2 controllers that serve. Raises OSError."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o755)  # noqa: PTH102
    if version == 2:
        enable(path, serves)


def enable(path: str, serves: frozenset[str]) -> None:
    """Let the v2 groups directly below `path` have the controllers. Raises OSError."""
    for controller in sorted(serves & {"memory", "pids"}):
        write(f"{path}/cgroup.subtree_control", b"+" + controller.encode())


def write(path: str, content: bytes) -> None:
    """Raises OSError with the path, whichever call refused."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, content)
        finally:
            os.close(fd)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
