"""What the forked child does, in this order, until it is the worker.

Whatever restricts it further belongs in this sequence. Nothing here is raced: every step
is done before the program runs, and a step that fails ends the launch.
"""

from __future__ import annotations

import errno
import os
import resource
import signal

from . import linux, signals
from .plan import Plan

CPU_HARD_EXTRA_S = 2
"""Seconds between SIGXCPU, which a worker may handle, and the kernel's SIGKILL."""

_UMASK = 0o077


class ForkFailed(OSError):
    """The kernel gives no further process."""


def fork_worker(plan: Plan, stdio: tuple[int, int, int]) -> tuple[int, int]:
    """Fork the worker with `stdio` as its descriptors 0 to 2; return (pid, report descriptor).

    The report ends empty when the program runs, or holds "<step> <errno>".

    Raises:
        ForkFailed: No process could be made.
        OSError: No pipe could be made.
    """
    report, report_in_child = os.pipe()
    parent = os.getpid()
    try:
        pid = os.fork()
    except OSError as error:
        os.close(report)
        os.close(report_in_child)
        raise ForkFailed(error.errno, error.strerror) from error
    if pid == 0:
        _become_worker(plan, stdio, report_in_child, parent)
    os.close(report_in_child)
    return pid, report


def _become_worker(plan: Plan, stdio: tuple[int, int, int], report: int, parent: int) -> None:
    """Never returns: execs, or writes the step and errno that stopped it and exits."""
    step = "setup"
    try:
        os.setsid()
        for target, fd in enumerate(stdio):
            os.dup2(fd, target)
        signals.reset()
        os.umask(_UMASK)
        linux.signal_on_parent_death(signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(127)
        linux.refuse_new_privileges()
        step = "chdir"
        os.chdir(plan.cwd)
        step = "setup"
        linux.close_all_fds(but=report)
        _set_limits(plan)
        step = "exec"
        os.execvpe(plan.argv[0], plan.argv, plan.env)  # noqa: S606 - no shell is the point
    except OSError as error:
        os.write(report, f"{step} {error.errno}".encode())
    except MemoryError:
        os.write(report, b"exec %d" % errno.ENOMEM)
    except ValueError:  # A null byte, or a name with "=" in the environment.
        os.write(report, f"{step} {errno.EINVAL}".encode())
    finally:
        os._exit(127)


def _set_limits(plan: Plan) -> None:
    """Per process, and inherited. Memory comes last: under it we may run out ourselves."""
    _limit(resource.RLIMIT_CORE, 0, 0)
    if plan.cpu_time_s is not None:
        _limit(resource.RLIMIT_CPU, plan.cpu_time_s, plan.cpu_time_s + CPU_HARD_EXTRA_S)
    if plan.memory_bytes is not None:
        _limit(resource.RLIMIT_DATA, plan.memory_bytes, plan.memory_bytes)


def _limit(kind: int, soft: int, hard: int) -> None:
    """Set a limit, never above the inherited hard one: only root may raise that."""
    _, inherited = resource.getrlimit(kind)
    if inherited != resource.RLIM_INFINITY:
        soft, hard = min(soft, inherited), min(hard, inherited)
    resource.setrlimit(kind, (soft, hard))
