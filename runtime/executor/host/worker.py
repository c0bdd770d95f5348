"""A worker as its supervisor holds it: the process, its three pipes, its files."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time

from . import bubblewrap, linux, verify
from .cgroup import Groups
from .child import Forked
from .inside import Inside
from .plan import Plan
from .pump import STDERR, STDOUT, Index, Pump, create
from .record import Record
from .stdin import Input
from .tree import Reaper
from .verdict import cause_of_end

_MESSAGE_BYTES_MAX = 64 << 10


class Worker:
    """Forked, with all its files, and not yet the program; see `start`."""

    __slots__ = (
        "_directory",
        "_forked",
        "groups",
        "input",
        "inside",
        "plan",
        "pumps",
        "reaper",
        "record",
        "start_ticks",
        "started_at_us",
    )

    def __init__(self, plan: Plan, directory: int) -> None:
        """Make the files, pipes and groups, and fork. `directory` is the locked folder, see `wire.py`.

        Raises:
            ForkFailed: There is no further process.
            CgroupRefused: A group cannot be made.
            OSError: A file or pipe cannot be made. No process exists then.
        """
        self.plan = plan
        self.started_at_us = 0
        self._directory = directory
        self.record = Record(directory)
        try:
            index = Index(create("output.idx", directory))
            logs = create("stdout.log", directory), create("stderr.log", directory)
            stdin_inside, stdin = os.pipe()
            stdout, stdout_inside = os.pipe()
            stderr, stderr_inside = os.pipe()
            for ours in (stdin, stdout, stderr):
                os.set_blocking(ours, False)
            stdio = (stdin_inside, stdout_inside, stderr_inside)
            status, status_inside = _status_pipe(plan)
            self.groups = _groups(plan)
            self.inside = _inside(plan, status, self.groups)
            self._forked = _fork(plan, stdio, self.groups, directory, status_inside)
        except OSError:
            self.record.abandon()
            raise
        for theirs in (*stdio, status_inside):
            if theirs is not None:
                os.close(theirs)
        self.reaper = Reaper(self._forked.pid)
        self.start_ticks = linux.start_ticks(self.pid)
        self.input = Input(stdin)
        if plan.stdin_closed:
            self.input.close_after_pending()
        self.pumps = (
            Pump(STDOUT, stdout, logs[0], index, max_bytes=plan.stdout_max_bytes),
            Pump(STDERR, stderr, logs[1], index, max_bytes=plan.stderr_max_bytes),
        )

    @property
    def pid(self) -> int:
        return self.reaper.leader

    @property
    def own_pids(self) -> set[int]:
        """The leader, and in a sandbox those who are there for its sake."""
        return {self.pid} if self.inside is None else {self.pid, self.inside.init, self.inside.leader}

    @property
    def process_group(self) -> int:
        """The process group that is the program's, 0 when there is none any more, or not yet.

        To be asked only while the leader is not reaped, so the number is still its own.
        """
        if self.inside is None:
            return self.pid
        return self.inside.init if self.inside.group_exists() else 0

    @property
    def report(self) -> int:
        """See `Forked`."""
        return self._forked.report

    def start(self) -> None:
        """Write run.json, then let the program run: what is not on record has never run. Raises OSError."""
        own = os.getpid()
        self.started_at_us = time.time_ns() // 1000
        self.record.write_run(
            {
                "boot_id": linux.boot_id(),
                "supervisor": {"pid": own, "start_ticks": linux.own_start_ticks()},
                "worker": {"pid": self.pid, "start_ticks": self.start_ticks},
                "started_at_us": self.started_at_us,
                "cgroups": self.groups.paths,
                "plan": self.plan.for_disk(),
            }
        )
        if self.inside is not None:
            if self.plan.pids_max is not None and self.plan.uid is None and not self.groups.serving("pids"):
                self.inside.bound_processes(self.plan.pids_max)
            self.inside.trace()
        self._forked.let_go()
        if self.inside is not None:
            self.inside.catch_leader()

    def failure_inside(self) -> dict[str, object]:
        """Why bubblewrap ended and nothing ran, as a FAILED frame: all on stderr is its own."""
        said = b""
        with contextlib.suppress(BlockingIOError):
            said = os.read(self.pumps[1].pipe, _MESSAGE_BYTES_MAX)
        return bubblewrap.failure(said, self.plan.argv[0])

    def in_force(self) -> dict[str, object] | None:
        """See `verify.py`."""
        return verify.in_force(self.pid, self.groups) if self.inside is None else self.inside.verified

    def settle(self, *, runs: bool) -> None:
        """The launch is decided: leave run.json if the program runs, and open the folder to others."""
        if not runs:
            self.groups.remove()
            self.record.abandon()
        fcntl.flock(self._directory, fcntl.LOCK_UN)

    def close_output(self) -> None:
        for pump in self.pumps:
            pump.close_pipe()
            pump.close_log()

    def exit_report(
        self, status: int, *, asked: str | None, ended_at_us: int, duration_ms: int, strays_killed: int
    ) -> dict[str, object]:
        """The content of exit.json, once the output is closed. `status` is the reaper's; see `verdict`."""
        stdout, stderr = self.pumps
        if self.inside is not None:
            status = self.inside.status(status)
        counters = self.groups.counters()
        user_us, system_us = counters.cpu_us or (self.reaper.user_cpu_s * 1e6, self.reaper.system_cpu_s * 1e6)
        cause = cause_of_end(
            status,
            asked=asked,
            cpu_limit_s=self.plan.cpu_time_s,
            cpu_used_s=(user_us + system_us) / 1e6,
            has_file_size_limit=self.plan.file_size_bytes is not None,
            oom_kills=counters.oom_kills or 0,
            forks_refused=counters.forks_refused or 0,
        )
        return {
            "code": status if status >= 0 else None,
            "signal": -status if status < 0 else None,
            "cause": cause,
            "ended_at_us": ended_at_us,
            "usage": {
                "user_cpu_ms": round(user_us / 1000),
                "system_cpu_ms": round(system_us / 1000),
                "max_rss_bytes": self.reaper.max_rss_bytes,
                "duration_ms": duration_ms,
                "memory_peak_bytes": counters.memory_peak_bytes,
                "oom_kills": counters.oom_kills,
                "forks_refused": counters.forks_refused,
            },
            "stdout": {"total_bytes": stdout.total, "kept_bytes": stdout.kept},
            "stderr": {"total_bytes": stderr.total, "kept_bytes": stderr.kept},
            "received_input_bytes": self.input.received,
            "undelivered_input_bytes": len(self.input.pending),
            "strays_killed": strays_killed,
            "output_errno": stdout.error_number or stderr.error_number,
        }


def _status_pipe(plan: Plan) -> tuple[int | None, int | None]:
    """Our end and bubblewrap's end of what it tells of a sandbox, if there is one. Raises OSError."""
    if plan.sandbox is None:
        return None, None
    ours, theirs = os.pipe()
    os.set_blocking(ours, False)
    return ours, theirs


def _inside(plan: Plan, status: int | None, groups: Groups) -> Inside | None:
    if plan.sandbox is None or status is None:
        return None
    return Inside(status, groups, has_init="pid" in plan.sandbox.namespaces)


def _groups(plan: Plan) -> Groups:
    """Raises CgroupRefused."""
    label = os.path.basename(plan.directory)  # noqa: PTH119 - pathlib would weigh on each supervisor
    return Groups(plan.cgroup, label, memory_bytes=plan.memory_bytes, pids_max=plan.pids_max)


def _fork(
    plan: Plan, stdio: tuple[int, int, int], groups: Groups, directory: int, status: int | None
) -> Forked:
    """Raises OSError, ForkFailed; then the groups are gone too."""
    try:
        return Forked(plan, stdio, groups, directory, status)
    except OSError:
        groups.remove()
        raise
