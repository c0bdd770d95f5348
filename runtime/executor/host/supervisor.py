"""One worker's supervisor: starts it, carries its bytes, and stays until its tree is empty.

A single thread around one poll. It waits for nobody: not for the server to read,
not for the worker to read or write, not for a disk that is full. Its life:

    plan      nothing exists yet; the end of the channel ends it
    starting  files, pipes, fork, run.json, exec; FAILED when a step fails
    running   STARTED; bytes both ways, deadlines
    ending    the leader is dead, or force is due: the tree is killed
    draining  the tree is empty: the pipes are read to their end
    gone      exit.json, then EXIT; see `lives.py` for what follows

A worker that outlives its server goes through the same life with no channel, or
with one after the other. EXIT is sent, and exit.json written, only when the tree
is empty and every kept byte is in the files.
A process that the kernel cannot kill (in an uninterruptible wait) keeps it in
`ending`: the worker is not over, and nothing here says that it is.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import time

from . import netns, tree, wire
from .budget import Budget
from .channel import Channel, Listener
from .ladder import CPU_TIME, KILL, LEASE, STOP, WALL_TIME, Ladder
from .launch import Launch, failed
from .line import Boss, Line
from .loop import Loop
from .plan import Plan
from .pump import Pump
from .worker import Worker

DRAIN_S = 1.0
"""How long output is read when the tree is empty and someone outside it holds a pipe open."""

ROOM_S_MAX = 5.0
"""How long a full disk is given, when the tree is empty, to take the rest of its output."""

RETRY_S = 0.25
"""Between two attempts at what there was no room for: on the disk, or for a connection."""

WAKE_GAP_S = 0.002
"""The least time between two wakes: a worker that says much costs the server no more than this."""

CPU_GRACE_S = 2.0
"""Between SIGXCPU, which a worker may handle, and SIGKILL."""

KILL_TICK_MIN_S = 0.005
KILL_TICK_MAX_S = 0.25
"""Between two attempts to kill a tree; growing, as what survives one is likely stuck in the kernel."""


class Supervisor(Boss):
    """Rules over one forked worker. Times are monotonic seconds."""

    def __init__(
        self, plan: Plan, loop: Loop, worker: Worker, channel: Channel, listener: Listener | None
    ) -> None:
        self._plan = plan
        self._loop = loop
        self._worker = worker
        self._line = Line(self, loop, channel, listener)
        self._ladder = Ladder()
        self._budget = Budget(plan, worker.groups, worker.reaper)
        self._launch = Launch(worker, loop)
        self._verified: dict[str, object] | None = None
        self._started_at = time.monotonic()
        self._early_signal: int | None = None  # To ask with, once there is a program that hears it.
        self._has_ended = False  # The leader; the two after it hold from then on.
        self._status = 0
        self._ended_at = 0.0
        self._ended_at_us = 0  # By the wall clock.
        self._wall_at: float | None = None
        self._drain_until: float | None = None
        self._wake_at: float | None = None
        self._last_wake_at = 0.0
        self._retry_at: float | None = None
        self._kill_again_at = 0.0
        self._kill_tick_s = KILL_TICK_MIN_S
        self._strays: set[int] = set()
        self._stdin_end_told = plan.stdin_closed
        self._taken_told = 0

    def run(self) -> bool:
        """From the fork to the last frame; whether nothing of it is left but what is on the disk."""
        if not self._worker.input.is_closed:
            self._loop.watch(self._worker.input.pipe, self._on_stdin, 0)
        self._line.open()
        while not self._launch.is_ready:
            self._turn()
        failure = self._launch.failure() if self._launch.is_over else self._start()
        while not self._launch.is_over:
            self._turn()
        failure = failure or self._launch.failure()
        if failure is None:
            self._tell_started()
        else:
            self._ladder.force(KILL, now=time.monotonic())
        while not self._worker.reaper.empty:
            self._turn()
        if failure is not None:
            self._line.hang_up()
            self._worker.settle(runs=False)
            self._line.finish(wire.FAILED, json.dumps(failure).encode())
            return False
        self._drain()
        return self._tell_exit()

    def _turn(self) -> None:
        """Wait for something, note who died, then act."""
        self._line.watch_room()
        ready = self._loop.wait(self._timeout_s())
        self._worker.reaper.reap()  # First: a worker that ended by itself was not ended by a later command.
        self._note_leader()
        self._loop.handle(ready)
        self._launch.look()
        self._keep_order()

    # Starting

    def _start(self) -> dict[str, object] | None:
        """Put it on record and let it go; why that failed, or None."""
        try:
            self._open_egress()
            self._launch.go()
        except OSError as error:
            self._ladder.force(KILL, now=time.monotonic())
            return self._start_failure(error)
        self._started_at = time.monotonic()
        self._budget.begin(self._started_at)
        if self._plan.wall_time_ms is not None:
            self._wall_at = self._started_at + self._plan.wall_time_ms / 1000
        return None

    def _start_failure(self, error: OSError) -> dict[str, object] | None:
        """None: bubblewrap has died, and says itself why."""
        if isinstance(error, ProcessLookupError):
            return None
        if isinstance(error, netns.NoWayOut):
            return failed("network", netns.SHOWN, error)
        return failed("setup", self._plan.directory, error)

    def _open_egress(self) -> None:
        """The worker's way out, before its program looks for it. Raises NoWayOut, ProcessLookupError."""
        listener = self._launch.egress()
        if listener is not None:
            self._line.hand_egress(listener)

    def _tell_started(self) -> None:
        self._worker.settle(runs=True)
        self._verified = self._worker.in_force()
        for pump in self._worker.pumps:
            self._watch_output(pump)
        started = {
            "pid": self._worker.pid,
            "started_at_us": self._worker.started_at_us,
            "verified": self._verified,
        }
        self._line.send(wire.STARTED, json.dumps(started).encode())
        if self._early_signal is not None:
            self._ask_with(self._early_signal)

    # Commands and bytes

    def obey(self, kind: int, body: bytes) -> None:
        """See `Boss`."""
        if kind == wire.INPUT:
            self._worker.input.put(body)
        elif kind == wire.CLOSE_STDIN:
            self._worker.input.close_after_pending()
        elif kind == wire.SIGNAL:
            self._signal_group(wire.unpack_u8(body))
        elif kind == wire.STOP:
            self._ask(STOP, wire.unpack_u64(body) / 1000, signal.SIGTERM)
        elif kind == wire.KILL:
            self._force(KILL)
        else:
            raise wire.WireError(f"no command is of kind {kind}")

    def state(self) -> dict[str, object]:
        """See `Boss`."""
        stdin = self._worker.input
        return {
            "pid": self._worker.pid,
            "started_at_us": self._worker.started_at_us,
            "received_input_bytes": stdin.received,
            "taken_bytes": stdin.taken,
            "stdin_closed": stdin.is_closed,
            "stdin_closing": stdin.is_closing,
            "cause": self._ladder.cause,
            "verified": self._verified,
        }

    def on_server_gone(self) -> None:
        """See `Boss`."""
        if not self._plan.outlives_server:
            self._force(LEASE)

    def retry_soon(self) -> None:
        """See `Boss`."""
        if self._retry_at is None:
            self._retry_at = time.monotonic() + RETRY_S

    def _on_stdin(self, events: int) -> None:
        if events & select.POLLERR:
            self._worker.input.close()  # Nobody can read it any more.
        else:
            self._worker.input.write()
        self.note_input()

    def note_input(self) -> None:
        """Report progress, and the end of stdin once; see `Boss`."""
        stdin = self._worker.input
        if stdin.taken != self._taken_told:
            self._taken_told = stdin.taken
            self._line.tell_taken(stdin.taken)
        if not stdin.is_closed:
            self._loop.set_mask(stdin.pipe, select.POLLOUT if stdin.pending else 0)
        elif not self._stdin_end_told:
            self._stdin_end_told = True
            self._loop.forget(stdin.pipe)
            self._line.send(wire.STDIN_CLOSED)

    def _watch_output(self, pump: Pump) -> None:
        def on_output(_events: int) -> None:
            if pump.pump():
                self._wake_soon()
            if pump.is_held:
                self._loop.forget(pump.pipe)  # The worker waits in its write; nothing is lost.
                self.retry_soon()
            elif pump.is_closed:
                self._loop.forget(pump.pipe)

        self._loop.watch(pump.pipe, on_output)

    def _wake_soon(self) -> None:
        if self._wake_at is None:
            self._wake_at = max(time.monotonic(), self._last_wake_at + WAKE_GAP_S)

    def _retry(self) -> None:
        """What there was no room for."""
        self._line.listen()
        for pump in [pump for pump in self._worker.pumps if pump.is_held]:
            if pump.retry():
                self._wake_soon()
            if pump.is_held:
                self.retry_soon()
            else:
                self._watch_output(pump)

    # The end

    def _enforce(self, passed: str | None) -> None:
        if passed == CPU_TIME:
            self._ask(CPU_TIME, CPU_GRACE_S, signal.SIGXCPU)
        elif passed is not None:
            self._force(passed)

    def _ask(self, cause: str, grace_s: float, number: int) -> None:
        """The first step of the ladder, unless the worker has ended by itself."""
        if self._has_ended:
            return
        if self._ladder.ask(cause, now=time.monotonic(), grace_s=grace_s):
            self._worker.input.close()
            self.note_input()
            if self._launch.is_over:
                self._ask_with(number)
            else:
                self._early_signal = number  # Now it would pass by us in the child, see `signals.py`.

    def _ask_with(self, number: int) -> None:
        self._signal_group(number)
        self._signal_group(signal.SIGCONT)  # One that was stopped can only then handle it.

    def _force(self, cause: str) -> None:
        if not self._has_ended or self._ladder.cause is not None:
            self._ladder.force(cause, now=time.monotonic())

    def _signal_group(self, number: int) -> None:
        """To the leader's group; only while the leader is not reaped, so the number is still its own."""
        if self._worker.reaper.status is None and (group := self._worker.process_group):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, number)

    def _note_leader(self) -> None:
        status = self._worker.reaper.status
        if status is not None and not self._has_ended:
            self._has_ended = True
            self._status = status
            self._ended_at = time.monotonic()
            self._ended_at_us = time.time_ns() // 1000
            self._wall_at = None
            self._budget.end()
            self._worker.input.close()
            self.note_input()

    def _keep_order(self) -> None:
        """Do what is due by the clock: try again, tell of output, climb the ladder."""
        now = time.monotonic()
        if self._retry_at is not None and now >= self._retry_at:
            self._retry_at = None
            self._retry()
        if self._wake_at is not None and now >= self._wake_at:
            self._wake_at = None
            self._last_wake_at = now
            self._line.wake()
        if self._wall_at is not None and now >= self._wall_at:
            self._wall_at = None
            self._ask(WALL_TIME, self._plan.grace_ms / 1000, signal.SIGTERM)
        if (look_at := self._budget.due_at) is not None and now >= look_at:
            self._enforce(self._budget.look(now))
        kill_at = self._kill_at()
        if kill_at is not None and now >= kill_at:
            killed = self._worker.groups.kill() | tree.kill_descendants(os.getpid())
            self._strays |= killed - self._worker.own_pids
            self._kill_again_at = now + self._kill_tick_s
            self._kill_tick_s = min(2 * self._kill_tick_s, KILL_TICK_MAX_S)

    def _kill_at(self) -> float | None:
        """When the tree is to be killed (again), if it is.

        At once when the leader is dead, but when it was asked to leave, its
        group shares its grace: a shell dies before the program that it runs.
        """
        at = self._ladder.force_at
        if self._has_ended and (at is None or not tree.group_lives(self._worker.pid)):
            at = 0.0
        return None if at is None or self._worker.reaper.empty else max(at, self._kill_again_at)

    def _timeout_s(self) -> float | None:
        """Until the next deadline; None without one."""
        by_clock = (self._wall_at, self._budget.due_at, self._drain_until, self._wake_at, self._retry_at)
        due = [at for at in (*by_clock, self._kill_at()) if at is not None]
        if self._launch.needs_looks:
            due.append(time.monotonic())
        return min(due) - time.monotonic() if due else None

    def _drain(self) -> None:
        """Read the pipes to their end; the tree is empty, so it comes at once.

        Unless a pipe was given away, or the disk is full: it gets ROOM_S_MAX to
        take what the worker left, then that is only counted.
        """
        pumps = self._worker.pumps
        pipes_until = time.monotonic() + DRAIN_S
        room_until = time.monotonic() + ROOM_S_MAX
        while not all(pump.is_closed for pump in pumps):
            now = time.monotonic()
            if any(pump.is_held for pump in pumps):
                pipes_until = now + DRAIN_S
                if now >= room_until:
                    self._give_up_room()
            elif now >= pipes_until:
                break
            is_held = any(pump.is_held for pump in pumps)
            self._drain_until = room_until if is_held else pipes_until
            self._turn()
        for pump in pumps:
            self._loop.forget(pump.pipe)
        self._worker.close_output()

    def _give_up_room(self) -> None:
        for pump in self._worker.pumps:
            if pump.is_held:
                pump.give_up()
                self._watch_output(pump)

    def _tell_exit(self) -> bool:
        """exit.json, then EXIT with the same content. A disk that refuses the first stops not the second.

        Whether the server that launched the worker has it, and nothing refused: neither the disk nor a
        control group. Then that server's journal keeps the end; else exit.json is synced here.
        """
        report = self._worker.exit_report(
            self._status,
            asked=self._ladder.cause,
            ended_at_us=self._ended_at_us,
            duration_ms=round((self._ended_at - self._started_at) * 1000),
            strays_killed=len(self._strays),
        )
        is_clean = self._worker.groups.remove()
        told = json.dumps(report).encode()
        try:
            self._worker.record.write_exit(told)
        except OSError as error:
            is_clean = False
            report["output_errno"] = report["output_errno"] or error.errno
            told = json.dumps(report).encode()
        self._line.finish(wire.EXIT, told)
        if is_clean and self._line.is_first:
            return True
        with contextlib.suppress(OSError):  # It is told; nobody is left to hear of this.
            self._worker.record.sync_exit()
        return False
