"""The server's end of the spawn daemon: starts it, asks it, and starts the next one when it died."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import socket
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path
from typing import NamedTuple

from watchglass.protocol.errors import LaunchFailed

from .host.wire import ANSWER, FORK, SETTLE

REQUESTS_MAX = 64
"""Forks asked for and not answered; the rest wait in the server, not in the socket."""

FORK_S_MAX = 10.0
"""A spawn daemon that does not answer for so long is replaced; the workers go on without it."""

SETTLE_S_MAX = 5.0
"""How long a dead supervisor's descendants may take to die, before we stop asking."""

LEAVE_S_MAX = 10.0
"""How long a spawn daemon may take to leave when its socket closes and its supervisors are gone."""

_START = "import sys; sys.path.append(sys.argv[1]); from host.spawnd import main; main(int(sys.argv[2]))"
_KEPT_ENV = ("LD_LIBRARY_PATH",)  # A Python that lies outside the system may need it to start.


class SpawndGone(Exception):
    """The spawn daemon died before it answered."""


class Forked(NamedTuple):
    """A supervisor; `pidfd` is the receiver's to close. `spawn_daemon` forked it, if we know."""

    pid: int
    pidfd: int
    spawn_daemon: int | None = None


class Spawner:
    """One spawn daemon at a time; the next is started when the one before it died."""

    def __init__(self, log_path: Path | None) -> None:
        self._log_path = log_path
        self._daemon: _Daemon | None = None
        self._former: list[_Daemon] = []
        self._files_max, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._slots = asyncio.Semaphore(REQUESTS_MAX)
        self._is_closed = False

    @property
    def pid(self) -> int | None:
        """The spawn daemon's pid while one runs."""
        return self._daemon.pid if self._daemon is not None and not self._daemon.is_gone else None

    def start(self) -> None:
        """Start the daemon ahead of the first launch, which then finds it ready."""
        with contextlib.suppress(LaunchFailed):  # The launch tries again, and tells.
            self._running()

    async def fork(self, kind: bytes = FORK) -> tuple[Forked, socket.socket]:
        """A new supervisor (or, of kind PROBE, a prober) and our end of its channel.

        A cancelled call leaves nothing: whoever sees its channel end leaves.

        Raises:
            LaunchFailed: The daemon cannot be started, cannot fork, or is closed.
        """
        async with self._slots:
            try:
                return await self._fork_once(kind)
            except SpawndGone:
                pass
            try:
                return await self._fork_once(kind)
            except SpawndGone:
                raise LaunchFailed("spawn", "spawn daemon", errno.EOWNERDEAD) from None

    async def settle(self) -> None:
        """Return when nothing is left of supervisors that died, at most SETTLE_S_MAX later.

        At once when no daemon could know.
        """
        if self._daemon is not None:
            with contextlib.suppress(SpawndGone, TimeoutError):
                async with asyncio.timeout(SETTLE_S_MAX):
                    await self._daemon.settle()

    async def close(self, *, leave_behind: bool) -> None:
        """End the daemon, and start no other. It is gone when this returns.

        Unless it is left behind with supervisors that stay: then it leaves after the last of them.
        """
        self._is_closed = True
        daemons = [daemon for daemon in (*self._former, self._daemon) if daemon is not None]
        self._former, self._daemon = [], None
        for daemon in daemons:
            if leave_behind:
                daemon.leave_behind()
            else:
                await daemon.close()

    async def _fork_once(self, kind: bytes) -> tuple[Forked, socket.socket]:
        if self._is_closed:
            raise LaunchFailed("spawn", "spawn daemon", errno.ECANCELED)
        daemon = self._running()
        ours, theirs = socket.socketpair()
        try:
            async with asyncio.timeout(FORK_S_MAX):
                return await daemon.fork(theirs, kind), ours
        except TimeoutError:
            ours.close()
            daemon.kill()
            raise LaunchFailed("spawn", "spawn daemon", errno.ETIMEDOUT) from None
        except BaseException:
            ours.close()
            raise

    def _running(self) -> _Daemon:
        """The daemon to ask, started if there is none. Raises LaunchFailed."""
        if self._daemon is not None and not self._daemon.is_gone:
            return self._daemon
        self._former = [former for former in (*self._former, self._daemon) if former and not former.is_reaped]
        try:
            self._daemon = _Daemon(self._files_max, self._log_path)
        except OSError as error:
            self._daemon = None
            raise LaunchFailed("spawn", "spawn daemon", error.errno or errno.EIO) from error
        return self._daemon


class _Daemon:
    """One spawn daemon's life, from its start until it is reaped."""

    def __init__(self, files_max: int, log_path: Path | None) -> None:
        """Start it; it serves a few milliseconds later. Raises OSError."""
        self._loop = asyncio.get_running_loop()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.setblocking(False)
        with theirs:
            try:
                self._process = _start(theirs, files_max, log_path)
                self._pidfd = os.pidfd_open(self._process.pid)
            except OSError:
                self._socket.close()
                raise
        self._forks: deque[asyncio.Future[Forked]] = deque()
        self._settles: deque[asyncio.Future[None]] = deque()
        self._reaped: asyncio.Future[None] = self._loop.create_future()
        self.is_gone = False
        self._loop.add_reader(self._socket, self._on_answer)
        self._loop.add_reader(self._pidfd, self._on_death)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_reaped(self) -> bool:
        return self._reaped.done()

    async def fork(self, theirs: socket.socket, kind: bytes) -> Forked:
        """Hand `theirs` to a new process of this kind; it is closed here in any case.

        Raises:
            LaunchFailed: It cannot fork.
            SpawndGone: It died first.
        """
        answer: asyncio.Future[Forked] = self._loop.create_future()
        with theirs:
            self._ask(kind, theirs.fileno())
        self._forks.append(answer)
        try:
            return await answer
        except asyncio.CancelledError:
            if answer.done() and not answer.cancelled() and answer.exception() is None:
                os.close(answer.result().pidfd)  # It came in the same moment; nobody else will.
            raise

    async def settle(self) -> None:
        """Raises SpawndGone."""
        answer: asyncio.Future[None] = self._loop.create_future()
        self._ask(SETTLE)
        self._settles.append(answer)
        await answer

    def kill(self) -> None:
        """For one that does not answer. Its supervisors and their workers go on."""
        self._process.kill()
        self._lose()

    async def close(self) -> None:
        """Let it leave, which it does after its last supervisor; kill it after LEAVE_S_MAX seconds."""
        self._lose()
        try:
            async with asyncio.timeout(LEAVE_S_MAX):
                await asyncio.shield(self._reaped)
        except TimeoutError:
            self._process.kill()
            await self._reaped

    def leave_behind(self) -> None:
        """Let it leave after its last supervisor, whenever that is, and not wait for it here."""
        self._lose()
        if not self.is_reaped:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            # It stays our child: should we be there when it leaves, somebody has to take note.
            threading.Thread(target=self._process.wait, name="spawn daemon", daemon=True).start()

    def _ask(self, letter: bytes, *fds: int) -> None:
        """REQUESTS_MAX is far below what the socket holds, so it never has to wait for room."""
        if self.is_gone:
            raise SpawndGone
        try:
            socket.send_fds(self._socket, [letter], fds)
        except (BrokenPipeError, ConnectionResetError):
            self._lose()
            raise SpawndGone from None

    def _on_answer(self) -> None:
        try:
            answer, fds, _, _ = socket.recv_fds(self._socket, ANSWER.size, 1, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        except ConnectionResetError:
            answer = b""
        if not answer:
            self._lose()
            return
        letter, number = ANSWER.unpack(answer)
        if letter == SETTLE:
            settled = self._settles.popleft()
            if not settled.done():
                settled.set_result(None)
        else:
            self._on_forked(self._forks.popleft(), number, fds)

    def _on_forked(self, waiting: asyncio.Future[Forked], number: int, fds: list[int]) -> None:
        if waiting.done():  # Cancelled; the supervisor leaves when it sees its channel closed.
            for fd in fds:
                os.close(fd)
        elif number < 0:
            waiting.set_exception(LaunchFailed("spawn", "supervisor", -number))
        elif not fds:  # The kernel dropped it: we have no descriptor free.
            waiting.set_exception(LaunchFailed("spawn", "supervisor", errno.EMFILE))
        else:
            waiting.set_result(Forked(number, fds[0], self.pid))

    def _lose(self) -> None:
        """No more requests; who waits for an answer gets none."""
        if self.is_gone:
            return
        self.is_gone = True
        self._loop.remove_reader(self._socket)
        self._socket.close()
        waiting: list[asyncio.Future[Forked] | asyncio.Future[None]] = [*self._forks, *self._settles]
        for future in waiting:
            if not future.done():
                future.set_exception(SpawndGone())

    def _on_death(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._process.wait()
        self._lose()
        self._reaped.set_result(None)


def _start(theirs: socket.socket, files_max: int, log_path: Path | None) -> subprocess.Popen[bytes]:
    """In its own session, with an empty environment. Its stderr, where only a bug writes, is ours or the log.

    Raises:
        OSError: It cannot be started, or the log cannot be opened.
    """
    here = Path(__file__).resolve().parent
    with contextlib.ExitStack() as opened:
        log = None
        if log_path is not None:
            log = os.open(log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            opened.callback(os.close, log)
        return subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _START, str(here), str(files_max)],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=log,
            env={name: os.environ[name] for name in _KEPT_ENV if name in os.environ},
            start_new_session=True,
        )
