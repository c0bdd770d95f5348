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
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from watchglass.protocol.errors import LaunchFailed

from ._channel import Channel
from ._output import Output, OutputChunk
from ._spawner import Forked
from .host import wire
from .plan import LaunchPlan

Cause = Literal["stop", "kill", "wall_time", "lease", "lost"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What the whole tree used; `max_rss_bytes` is that of its largest process."""

    user_cpu_ms: int
    system_cpu_ms: int
    max_rss_bytes: int
    duration_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamTotals:
    """Bytes that the worker wrote, and those of them that are in the file: its first ones."""

    total_bytes: int
    kept_bytes: int

    @property
    def is_truncated(self) -> bool:
        return self.kept_bytes < self.total_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessExit:
    """How a worker ended. Either `code` or `signal` is set; neither when it was lost.

    `cause` says why it had to leave; None: it left by itself. "lost": its
    supervisor was killed, and all that is known is that nothing of it is left.
    """

    code: int | None
    signal: int | None
    cause: Cause | None
    usage: Usage | None  # None: lost.
    stdout: StreamTotals
    stderr: StreamTotals
    undelivered_input_bytes: int  # Accepted by `write_input`, never taken by the worker's pipe.
    strays_killed: int  # Processes other than the leader that had to be killed.
    output_errno: int | None  # Why a file holds less than its cap allows.


class Process:
    """One worker, from the fork of its supervisor on. Made by `Executor.launch`.

    `pid` and `started_at_us` (wall clock since 1970) are set once the program
    runs. Methods that ask something of a worker that is over do nothing.
    """

    def __init__(
        self,
        plan: LaunchPlan,
        forked: Forked,
        ours: socket.socket,
        *,
        body: bytes,
        on_change: Callable[[], None],
        on_dead: Callable[[Process], None],
    ) -> None:
        """`body` is the plan, encoded.

        `on_dead` is called once, when the supervisor is dead and its last word is read.
        """
        self.pid = 0
        self.supervisor_pid = forked.pid
        self.started_at_us = 0
        self.exit: ProcessExit | None = None
        self.stdin_closed = False
        self._plan = plan
        self._on_change = on_change
        self._on_dead = on_dead
        self._pidfd = forked.pidfd
        self._is_dead = False
        self._output = Output(plan.directory)
        self._unsent: deque[memoryview] = deque()
        self._accepted_bytes = 0
        self._sent_bytes = 0
        self._taken_bytes = 0
        self._wants_stdin_closed = False
        self._loop = asyncio.get_running_loop()
        self._started: asyncio.Future[None] = self._loop.create_future()
        self._channel = Channel(ours, self._on_frame, self._on_channel_end)
        self._loop.add_reader(self._pidfd, self._on_supervisor_death)
        self._channel.send(wire.PLAN, body)

    @property
    def cookie(self) -> str:
        return self._plan.cookie

    @property
    def is_reported(self) -> bool:
        """Whether the supervisor has said its last word: the exit, or why there was no start."""
        failed = self._started.done() and self._started.exception() is not None
        return failed or self.exit is not None

    @property
    def backlog_bytes(self) -> int:
        """Accepted by `write_input` and not yet taken by the worker's pipe."""
        return self._accepted_bytes - self._taken_bytes

    async def wait_started(self) -> None:
        """Return when the program runs. Raises LaunchFailed."""
        await asyncio.shield(self._started)

    def read_output(self, max_bytes: int) -> list[OutputChunk]:
        """The next output in its common order, at most `max_bytes` in sum; [] when there is none now.

        Raises:
            OSError: The worker's files are gone or were cut.
        """
        chunks = self._output.read(max_bytes)
        if not chunks and self.exit is not None:
            self._output.close()
        return chunks

    def write_input(self, data: bytes) -> None:
        """Accept input. The caller bounds `backlog_bytes`; after `stdin_closed` it can only grow."""
        self._accepted_bytes += len(data)
        if data and not self.stdin_closed and not self._wants_stdin_closed:
            self._unsent.append(memoryview(data))
            self._send_input()

    def close_stdin(self) -> None:
        """End the input after everything written before; the worker reads an end of file."""
        if not self._wants_stdin_closed:
            self._wants_stdin_closed = True
            self._send_input()

    def signal(self, number: int) -> None:
        """Send a signal to the leader's process group. Raises ValueError: there is no such signal."""
        if number not in signal.valid_signals():
            raise ValueError(f"no signal has the number {number}")
        self._channel.send(wire.SIGNAL, bytes([number]))

    def stop(self, grace_ms: int | None = None) -> None:
        """Close stdin, SIGTERM the group, SIGKILL the tree after the grace (None: the plan's).

        Asking again can only shorten the grace.
        """
        grace = self._plan.grace_ms if grace_ms is None else grace_ms
        self._channel.send(wire.STOP, wire.pack_u64(max(0, grace)))

    def kill(self) -> None:
        """SIGKILL the whole tree now."""
        self._channel.send(wire.KILL)

    def kill_supervisor(self) -> None:
        """For a supervisor that does not act: the worker dies with it, and is lost."""
        if not self._is_dead:
            with contextlib.suppress(ProcessLookupError):  # Dead, and reaped before we heard of it.
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def close(self) -> None:
        """Read no more output. The worker itself goes on."""
        self._output.close()

    def set_lost(self) -> None:
        """Nothing of the worker is left and nobody could say how it ended."""
        if not self._started.done():
            self._started.set_exception(LaunchFailed("spawn", "supervisor", errno.EOWNERDEAD))
            self._started.exception()  # Seen: the launch that would raise it may be cancelled.
            return
        try:
            kept = self._output.indexed_bytes()
            error_number = None
        except OSError as error:
            kept, error_number = (0, 0), error.errno
        self._set_exit(
            ProcessExit(
                code=None,
                signal=None,
                cause="lost",
                usage=None,
                stdout=StreamTotals(total_bytes=kept[0], kept_bytes=kept[0]),
                stderr=StreamTotals(total_bytes=kept[1], kept_bytes=kept[1]),
                undelivered_input_bytes=self.backlog_bytes,
                strays_killed=0,
                output_errno=error_number,
            )
        )

    def _send_input(self) -> None:
        """As much as the window allows, and the end after the last of it."""
        while self._unsent:
            room = wire.INPUT_WINDOW_BYTES - (self._sent_bytes - self._taken_bytes)
            if room <= 0:
                return
            size = min(room, wire.INPUT_FRAME_BYTES_MAX)
            first = self._unsent.popleft()
            if len(first) > size:
                self._unsent.appendleft(first[size:])
            piece = bytes(first[:size])
            self._sent_bytes += len(piece)
            self._channel.send(wire.INPUT, piece)
        if self._wants_stdin_closed:
            self._channel.send(wire.CLOSE_STDIN)

    def _on_frame(self, kind: int, body: bytes) -> None:
        if kind == wire.TAKEN:
            self._taken_bytes = wire.unpack_u64(body)
            self._send_input()
        elif kind == wire.STDIN_CLOSED:
            self.stdin_closed = True
            self._unsent.clear()
        elif kind == wire.STARTED:
            started = json.loads(body)
            self.pid = started["pid"]
            self.started_at_us = started["started_at_us"]
            self._started.set_result(None)
        elif kind == wire.FAILED:
            self._started.set_exception(LaunchFailed(**json.loads(body)))
        elif kind == wire.EXIT:
            self._set_exit(_exit_of(json.loads(body), self.backlog_bytes))
            return
        self._on_change()

    def _set_exit(self, process_exit: ProcessExit) -> None:
        self.stdin_closed = True
        self._unsent.clear()
        self.exit = process_exit
        self._on_change()

    def _on_channel_end(self) -> None:
        """Without a last word it will never come: nobody can reach the supervisor any more."""
        if not self.is_reported:
            self.kill_supervisor()

    def _on_supervisor_death(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._is_dead = True
        self._channel.finish()
        self._on_dead(self)


def _exit_of(report: dict[str, Any], undelivered_input_bytes: int) -> ProcessExit:
    """The content of exit.json; the server knows of more undelivered input than the supervisor."""
    return ProcessExit(
        code=report["code"],
        signal=report["signal"],
        cause=report["cause"],
        usage=Usage(**report["usage"]),
        stdout=StreamTotals(**report["stdout"]),
        stderr=StreamTotals(**report["stderr"]),
        undelivered_input_bytes=undelivered_input_bytes,
        strays_killed=report["strays_killed"],
        output_errno=report["output_errno"],
    )
