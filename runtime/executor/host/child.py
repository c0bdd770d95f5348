"""What the forked child does, in this order, until it is the worker.

It joins its groups first, so that all it does counts, and nothing of it is born
outside. Whatever restricts it further belongs in this sequence. Nothing here is
raced: every step is done before the program runs, and a step that fails ends the
launch. The last one is to wait for the supervisor's go, so that nothing runs that
is not on record.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import warnings  # noqa: F401 - os.execvpe imports it, which a restricted child may not read any more.

from . import identity, linux
from .cgroup import Groups
from .entering import Entrance, RootfsRefused
from .plan import Plan
from .restricting import is_hidden, open_own, restrict

CPU_SOFT_EXTRA_S = 1
"""How much more CPU time a single process gets from the kernel than the tree from us.

The kernel's clock for this counts ticks, on a busy virtual machine also stolen ones, so
at the same number it would often be first, and a worker that handles SIGXCPU would end
of nothing that anybody can tell.
"""

CPU_HARD_EXTRA_S = 2
"""Seconds between SIGXCPU, which a worker may handle, and the kernel's SIGKILL."""

_UMASK = 0o077


class ForkFailed(OSError):
    """The kernel gives no further process."""


class Forked:
    """The worker before it is the program; `let_go` makes it that.

    `report` ends empty when the program runs, or holds "<step> <errno>".
    """

    __slots__ = ("_go", "pid", "report")

    def __init__(
        self, plan: Plan, stdio: tuple[int, int, int], groups: Groups, directory: int, status: int | None
    ) -> None:
        """Fork the worker with `stdio` as its descriptors 0 to 2, into `groups`. `directory` is its folder.

        `status` is where bubblewrap reports, if the plan has a sandbox: then what
        runs before the go, and waits for it, is bubblewrap.

        Raises:
            ForkFailed: No process could be made.
            OSError: No pipe could be made.
        """
        self.report, report_in_child = os.pipe()
        go_in_child, self._go = os.pipe()
        parent = os.getpid()
        try:
            self.pid = groups.fork()
        except OSError as error:
            raise ForkFailed(error.errno, error.strerror) from error
        if self.pid == 0:
            child = _Child(plan, groups, directory, report_in_child, go_in_child)
            child.become_worker(stdio, parent, status)
        os.close(report_in_child)
        os.close(go_in_child)

    def let_go(self) -> None:
        """Have it run the program."""
        try:
            os.write(self._go, b"g")
        except BrokenPipeError:  # It is dead, or a step before has failed; the report tells.
            return
        finally:
            os.close(self._go)


class _Child:
    """The forked process. `step` is what it is at, for the report."""

    __slots__ = ("_closed", "_directory", "_go", "_groups", "_plan", "_report", "_step")

    def __init__(self, plan: Plan, groups: Groups, directory: int, report: int, go: int) -> None:
        self._plan = plan
        self._groups = groups
        self._directory = directory
        self._report = report
        self._go = go
        self._step = "cgroup"
        self._closed: str | None = None

    def become_worker(self, stdio: tuple[int, int, int], parent: int, status: int | None) -> None:
        """Never returns: execs, or writes the step and errno that stopped it and exits."""
        try:
            self._groups.join()
            self._step = "setup"
            os.setsid()
            for target, fd in enumerate(stdio):
                os.dup2(fd, target)
            os.umask(_UMASK)
            if status is None:
                self._run(parent)
            else:
                self._run_in_sandbox(parent, status)
        except OSError as error:
            os.write(self._report, f"{self._step} {self._said_by(error)}".encode())
        except MemoryError:
            os.write(self._report, b"exec %d" % errno.ENOMEM)
        except ValueError:  # A null byte, or a name with "=" in the environment.
            os.write(self._report, f"{self._step} {errno.EINVAL}".encode())
        finally:
            os._exit(127)

    def _run(self, parent: int) -> None:
        plan = self._plan
        self._step = "workspace"
        workspace, self._closed = open_own(plan, self._directory)
        self._give_up_rights(parent)
        self._step = "chdir"
        os.chdir(plan.cwd)
        self._step = "sandbox"
        restrict(plan, workspace)
        self._step = "setup"
        linux.close_all_fds(but=(self._report, self._go))
        _set_limits(plan, self._groups)
        if not os.read(self._go, 1):
            os._exit(127)
        self._step = "exec"
        os.execvpe(plan.argv[0], plan.argv, plan.env)  # noqa: S606 - no shell is the point

    def _run_in_sandbox(self, parent: int, status: int) -> None:
        """bubblewrap sets up all it can, and waits for the go itself."""
        self._step = "workspace"
        try:
            entrance = Entrance(self._plan, self._directory, status, self._go)
        except RootfsRefused:
            self._step = "rootfs"
            raise
        self._give_up_rights(parent)
        self._step = "setup"
        linux.close_all_fds(but=(self._report, *entrance.kept))
        _set_limits(self._plan, self._groups)
        self._step = "sandbox"
        entrance.exec()

    def _said_by(self, error: OSError) -> int | None:
        """The errno; what the worker's user may not see is not missing, though it looks so."""
        path = {"chdir": self._plan.cwd, "exec": self._plan.argv[0]}.get(self._step)
        if error.errno != errno.ENOENT or self._closed is None or path is None or "/" not in path:
            return error.errno
        return errno.EACCES if is_hidden(self._plan, path, self._closed) else error.errno

    def _give_up_rights(self, parent: int) -> None:
        self._step = "identity"
        if self._plan.uid is not None:
            identity.become(self._plan.uid)
        linux.signal_on_parent_death(signal.SIGKILL)  # After it, for a change of the uid clears it.
        if os.getppid() != parent:
            os._exit(127)


def _set_limits(plan: Plan, groups: Groups) -> None:
    """Per process, and inherited. Memory comes last: under it we may run out ourselves.

    A group bounds the memory of the whole tree; a bound on each process would
    only refuse what is there for it.
    """
    _limit(resource.RLIMIT_CORE, 0, 0)
    if plan.cpu_time_s is not None:
        soft = plan.cpu_time_s + CPU_SOFT_EXTRA_S
        _limit(resource.RLIMIT_CPU, soft, soft + CPU_HARD_EXTRA_S)
    if plan.file_size_bytes is not None:
        _limit(resource.RLIMIT_FSIZE, plan.file_size_bytes, plan.file_size_bytes)
    if plan.memory_bytes is not None and groups.serving("memory") is None:
        _limit(resource.RLIMIT_DATA, plan.memory_bytes, plan.memory_bytes)
    if plan.pids_max is not None and plan.uid is not None and groups.serving("pids") is None:
        _limit(resource.RLIMIT_NPROC, plan.pids_max, plan.pids_max)  # Of this user, who is nobody else.


def _limit(kind: int, soft: int, hard: int) -> None:
    """Set a limit, never above the inherited hard one: only root may raise that."""
    _, inherited = resource.getrlimit(kind)
    if inherited != resource.RLIM_INFINITY:
        soft, hard = min(soft, inherited), min(hard, inherited)
    resource.setrlimit(kind, (soft, hard))
