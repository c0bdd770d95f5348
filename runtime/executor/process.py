"""A worker's process as the runtime sees it: input, output, signals, and one exit.

Nothing here waits. What can change by itself is announced by `on_change`; then
look at the attributes and read the output.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from watchglass.protocol.errors import LaunchFailed, SandboxSetupFailed

from ._channel import Channel
from ._input import Input
from ._output import Output, OutputChunk
from ._spares import Supervisor
from ._spawner import Forked
from .exits import Cause, ProcessExit, Report, lost, read_report, report_of
from .host import wire
from .verified import Verified, verified_of

_SANDBOX_STEPS: Final = frozenset({"sandbox", "rootfs"})


class Process:
    """One worker, from the fork or the adoption of its supervisor on. Made by `Executor`.

    `pid` and `started_at_us` (wall clock since 1970) are set once the program
    runs. `received_input_bytes` is how much input the supervisor had when the
    worker was adopted: `write_input` goes on there; 0 for one launched here, or
    lost. `asked` is why an adopted worker had been made to leave already.
    `verified` is what was found in force right after the start; None: it had
    ended by then. `uid` is the user that an adopted worker was to become; None: ours.

    Methods that ask something of a worker that is over do nothing.
    """

    def __init__(
        self,
        directory: Path,
        output: Output,
        *,
        cookie: str,
        grace_ms: int,
        outlives_server: bool,
        stdin_closed: bool = False,
        on_change: Callable[[], None],
        on_dead: Callable[[Process], None],
        on_free: Callable[[Process, Supervisor], None],
    ) -> None:
        """One of the last two is called, once.

        `on_dead` when the supervisor is dead and its last word is read; `on_free`
        when it has said it, lives, and can have another worker.
        """
        self.pid = 0
        self.supervisor_pid = 0
        self.started_at_us = 0
        self.received_input_bytes = 0
        self.asked: Cause | None = None
        self.exit: ProcessExit | None = None
        self.verified: Verified | None = None
        self.uid: int | None = None
        self.cookie = cookie
        self.outlives_server = outlives_server
        self.directory = directory
        self._output = output
        self._grace_ms = grace_ms
        self._on_change = on_change
        self._on_dead = on_dead
        self._on_free = on_free
        self._has_run = False  # Whether exit.json, if it is there, tells of this life.
        self._pidfd: int | None = None  # While the supervisor lives and is ours to watch.
        self._channel: Channel | None = None
        self._supervisor: Supervisor | None = None  # Unless it is one that we adopted.
        self._egress: socket.socket | None = None
        self._input = Input(self._send, is_closed=stdin_closed)
        self._loop = asyncio.get_running_loop()
        self._started: asyncio.Future[None] = self._loop.create_future()

    @property
    def is_started(self) -> bool:
        """Whether the program is known to run, or to have run."""
        return self._started.done() and self._started.exception() is None

    @property
    def is_watched(self) -> bool:
        """Whether the supervisor lives, as far as we know, and we hear of its death."""
        return self._pidfd is not None

    @property
    def is_reported(self) -> bool:
        """Whether the supervisor has said its last word: the exit, or why there was no start."""
        failed = self._started.done() and self._started.exception() is not None
        return failed or self.exit is not None

    @property
    def backlog_bytes(self) -> int:
        """Accepted by `write_input` and not yet taken by the worker's pipe."""
        return self._input.backlog_bytes

    @property
    def stdin_closing(self) -> bool:
        """Whether the end of the input was asked for: nothing written later is delivered."""
        return self._input.is_closing

    @property
    def stdin_closed(self) -> bool:
        """Whether no further input can be delivered."""
        return self._input.is_closed

    async def wait_started(self) -> None:
        """Return when the program runs, or ran. Raises LaunchFailed."""
        await asyncio.shield(self._started)

    def read_output(self, max_bytes: int) -> list[OutputChunk]:
        """The next output in its common order, at most `max_bytes` in sum; [] when there is none now.

        Raises:
            OSError: The worker's files are gone or were cut.
        """
        chunks = self._output.read(max_bytes)
        if not chunks and self.exit is not None:
            self._output.finish(self.exit.stdout.kept_bytes, self.exit.stderr.kept_bytes)
        return chunks

    def write_input(self, data: bytes) -> None:
        """Accept input. The caller bounds `backlog_bytes`; after `stdin_closed` it can only grow."""
        self._input.write(data)

    def close_stdin(self) -> None:
        """End the input after everything written before; the worker reads an end of file."""
        self._input.close()

    def signal(self, number: int) -> None:
        """Send a signal to the leader's process group. Raises ValueError: there is no such signal."""
        if number not in signal.valid_signals():
            raise ValueError(f"no signal has the number {number}")
        self._send(wire.SIGNAL, bytes([number]))

    def stop(self, grace_ms: int | None = None) -> None:
        """Close stdin, SIGTERM the group, SIGKILL the tree after the grace (None: the plan's).

        Asking again can only shorten the grace.
        """
        grace = self._grace_ms if grace_ms is None else grace_ms
        self._demand(wire.STOP, wire.pack_u64(max(0, grace)))

    def kill(self) -> None:
        """SIGKILL the whole tree now."""
        self._demand(wire.KILL)

    def kill_supervisor(self) -> None:
        """For a supervisor that does not act: the worker dies with it, and is lost."""
        if self._pidfd is not None:
            with contextlib.suppress(ProcessLookupError):  # Dead, and reaped before we heard of it.
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def take_egress(self) -> socket.socket | None:
        """The socket that listens in the worker's own network, if it has one; the caller's from now on.

        It is there once the program runs or is adopted. Who closes it takes the
        worker nothing: the next server that adopts it gets its own.
        """
        taken, self._egress = self._egress, None
        return taken

    def close(self) -> None:
        """Read no more output. The worker itself goes on."""
        self._output.close()
        self._close_egress()

    # For the executor.

    def watch(self, supervisor: Forked) -> None:
        """Hear of the death of the supervisor; its pidfd is ours now."""
        self.supervisor_pid = supervisor.pid
        self._pidfd = supervisor.pidfd
        self._loop.add_reader(self._pidfd, self._on_supervisor_death)

    def connect(self, ours: socket.socket) -> None:
        """Speak with the supervisor over `ours`."""
        self._channel = Channel(ours)
        self._channel.attach(self._on_frame, self._on_channel_end)

    def have(self, supervisor: Supervisor) -> None:
        """`watch` and `connect` in one, with a supervisor that has no worker."""
        self.watch(supervisor.process)
        self._supervisor = supervisor
        self._channel = supervisor.channel
        self._channel.attach(self._on_frame, self._on_channel_end)

    def begin(self, plan: bytes, directory_fd: int) -> None:
        """Hand over the plan, and the locked folder, which stays the caller's to close."""
        assert self._channel is not None
        self._channel.send_first(wire.PLAN, plan, directory_fd)

    def set_ran(self, pid: int, started_at_us: int) -> None:
        """The program runs, or ran, as run.json says; what became of it is still to be found out."""
        self._has_run = True
        self.pid, self.started_at_us = pid, started_at_us

    def read_exit(self) -> bool:
        """Take the exit from exit.json; False when it does not tell. Raises OSError."""
        report = read_report(self.directory) if self._has_run else None
        if report is not None:
            self._set_reported(report)
        return report is not None

    def set_lost(self) -> None:
        """Nothing of the worker is left and nobody could say how it ended."""
        if not self._has_run:
            self._fail(LaunchFailed("spawn", "supervisor", errno.EOWNERDEAD))
            return
        try:
            kept = self._output.indexed_bytes()
            error_number = None
        except OSError as error:
            kept, error_number = (0, 0), error.errno
        left = self.backlog_bytes
        self._set_exit(lost(kept=kept, undelivered_input_bytes=left, output_errno=error_number))

    def let_go(self) -> None:
        """Leave the worker to whoever adopts it next. Nothing is announced any more."""
        if self._pidfd is not None:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None
        if self._channel is not None:
            self._channel.close()
        self.close()
        if not self._started.done():
            self._fail(LaunchFailed("adopt", "supervisor", errno.ECANCELED))

    def _demand(self, kind: int, body: bytes = b"") -> None:
        """What has to happen; without a channel there is one way left."""
        if self._channel is not None and not self._channel.is_closed:
            self._channel.send(kind, body)
        elif not self.is_reported:
            self.kill_supervisor()

    def _send(self, kind: int, body: bytes) -> None:
        if self._channel is not None:
            self._channel.send(kind, body)

    def _on_frame(self, kind: int, body: bytes) -> None:
        if kind == wire.TAKEN:
            self._input.on_taken(wire.unpack_u64(body))
        elif kind == wire.STDIN_CLOSED:
            self._input.on_closed()
        elif kind == wire.STARTED:
            started = json.loads(body)
            self.set_ran(started["pid"], started["started_at_us"])
            self.verified = verified_of(started["verified"])
            self._started.set_result(None)
        elif kind == wire.STATE:
            self._on_state(body)
        elif kind == wire.EGRESS:
            self._on_egress()
        elif kind == wire.FAILED:
            self._fail(_launch_fault(**json.loads(body)))
        elif kind == wire.EXIT:
            self._set_reported(report_of(json.loads(body)))
            return
        elif kind == wire.FREE:
            self._release()
            return
        self._on_change()

    def _release(self) -> None:
        """The supervisor has nothing more to do with this worker."""
        assert self._supervisor is not None
        if self._pidfd is None:  # It said so before it died, and we hear of that first.
            return
        self._loop.remove_reader(self._pidfd)
        self._pidfd = self._channel = None
        self._on_free(self, self._supervisor)

    def _on_egress(self) -> None:
        """Without its descriptor, for which we had no room, the worker is the closed box that it was."""
        assert self._channel is not None
        if self._channel.files:
            self._egress = socket.socket(fileno=self._channel.files.popleft())

    def _close_egress(self) -> None:
        if self._egress is not None:
            self._egress.close()
            self._egress = None

    def _on_state(self, body: bytes) -> None:
        state = json.loads(body)
        self.asked = state["cause"]
        self.verified = verified_of(state.get("verified"))  # A supervisor of an older version tells none.
        self.received_input_bytes = state["received_input_bytes"]
        self._input.resume(
            received_bytes=state["received_input_bytes"],
            taken_bytes=state["taken_bytes"],
            is_closing=state["stdin_closing"],
        )
        if state["stdin_closed"]:
            self._input.on_closed()
        self._started.set_result(None)

    def _fail(self, fault: LaunchFailed) -> None:
        self._close_egress()
        self._started.set_exception(fault)
        self._started.exception()  # Seen: the launch that would raise it may be cancelled.

    def _set_reported(self, report: Report) -> None:
        """We know of more undelivered input than the supervisor, unless nobody of us ever spoke with it."""
        if self._started.done():
            self._set_exit(replace(report.exit, undelivered_input_bytes=self.backlog_bytes))
            return
        received = self.received_input_bytes = report.received_input_bytes
        taken = received - report.exit.undelivered_input_bytes
        self._input.resume(received_bytes=received, taken_bytes=taken, is_closing=False)
        self._set_exit(report.exit)

    def _set_exit(self, process_exit: ProcessExit) -> None:
        self._input.on_closed()
        self._close_egress()
        self.exit = process_exit
        if not self._started.done():
            self._started.set_result(None)
        self._on_change()

    def _on_channel_end(self) -> None:
        """Without a last word it will never come: nobody can reach the supervisor any more.

        That of a worker that outlives us may be somebody else's now; then we only wait for its end.
        """
        if not self.is_reported and not self.outlives_server:
            self.kill_supervisor()

    def _on_supervisor_death(self) -> None:
        assert self._pidfd is not None
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._pidfd = None
        if self._channel is not None:
            self._channel.finish()
        self._on_dead(self)


def _launch_fault(step: str, subject: str, error_number: int, uid: int | None = None) -> LaunchFailed:
    kind = SandboxSetupFailed if step in _SANDBOX_STEPS else LaunchFailed
    return kind(step, subject, error_number, uid=uid)
