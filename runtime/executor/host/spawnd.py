"""The spawn daemon: forks a supervisor for each request, so that the server never forks.

Its socket to the server is descriptor 0; `wire.py` draws the few bytes that pass
there. Plans travel over the control channels, so it parses nothing. It is small
and single-threaded so that a fork is cheap, and a subreaper: whoever becomes its
child without being a supervisor that it forked is left over from a dead one, and
is killed. A process that probes the host is a child of the same kind.

When the server's end closes it takes no more requests, and leaves when the last
supervisor has: soon, or with the last worker that outlives the server.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable

from . import bubblewrap, linux, seccomp, signals, tree, verify
from .lives import supervise
from .loop import Loop
from .wire import ANSWER, PROBE, SETTLE

ORPHAN_TICK_S = 0.02
"""Between two attempts to kill what a dead supervisor left."""

_BUG = 70


class Spawnd:
    """The daemon's state: its socket and the supervisors it forked."""

    def __init__(self, server: socket.socket) -> None:
        self._server = server
        self._is_open = True
        self._supervisors: set[int] = set()
        self._has_children = False
        self._settling = 0
        self._orphans: set[int] = set()
        self._loop = Loop()
        self._loop.watch(server.fileno(), self._on_server)

    def run(self) -> None:
        """Until the server is gone and no child is left."""
        while self._is_open or self._has_children:
            self._loop.handle(self._loop.wait(ORPHAN_TICK_S if self._orphans else None))
            if self._reap() or self._orphans or self._settling:
                self._orphans = tree.kill_descendants(os.getpid(), skip=self._supervisors)
            while self._settling and not self._orphans:
                self._settling -= 1
                self._answer(SETTLE, 0)

    def _reap(self) -> bool:
        """Take all who are dead now; whether there was one."""
        anyone = False
        while True:
            try:
                pid, _status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                self._has_children = False
                return anyone
            if pid == 0:
                return anyone
            anyone = True
            self._supervisors.discard(pid)

    def _on_server(self, _events: int) -> None:
        request, fds, _flags, _address = socket.recv_fds(self._server, 1, 1, socket.MSG_CMSG_CLOEXEC)
        if not request:
            self._loop.forget(self._server.fileno())
            self._is_open = False
        elif request == SETTLE:
            self._settling += 1
        elif not fds:  # The kernel dropped it: we have no descriptor free.
            self._answer(request, -errno.EMFILE)
        else:
            try:
                self._fork(request, fds[0])
            except OSError as error:
                self._answer(request, -(error.errno or errno.EAGAIN))
            finally:
                os.close(fds[0])

    def _fork(self, request: bytes, channel: int) -> None:
        pid = os.fork()
        if pid == 0:
            _become(_probe if request == PROBE else supervise, channel)
        self._supervisors.add(pid)
        self._has_children = True
        pidfd = os.pidfd_open(pid)  # We have not reaped it, so it is the one we forked.
        try:
            self._answer(request, pid, pidfd)
        finally:
            os.close(pidfd)

    def _answer(self, letter: bytes, number: int, *fds: int) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # The next read sees that it left.
            socket.send_fds(self._server, [ANSWER.pack(letter, number)], fds)


def _probe(server: socket.socket) -> None:
    from .probing import probe  # Here alone: what it brings along would weigh on every supervisor.

    probe(server)


def _become(life: Callable[[socket.socket], None], channel: int) -> None:
    """Never returns. A bug shows its traceback on our stderr; what it forked dies with it."""
    code = _BUG
    try:
        os.setsid()
        linux.adopt_orphans()
        signal.set_wakeup_fd(-1)
        linux.close_all_fds(but=(channel,))
        life(socket.socket(fileno=channel))
        code = 0
    finally:
        if code:
            sys.excepthook(*sys.exc_info())
        os._exit(code)


def main(files_max: int) -> None:
    """Serve the socket that is descriptor 0. Started by the server in a session of its own.

    `files_max` is the soft limit on open files for workers: the server may have
    raised its own, and programs that walk all their descriptors would pay for it.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files_max, hard))
    signals.settle()
    server = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    os.dup2(null, 0)
    os.close(null)
    os.chdir("/")
    linux.adopt_orphans()
    linux.refuse_new_privileges()  # All that is ever executed below us is a worker.
    linux.boot_id()  # This and what follows is found out once, for all supervisors.
    verify.own_namespaces()
    bubblewrap.host_system()
    with contextlib.suppress(seccomp.Unsupported):
        seccomp.own_filter()
    spawnd = Spawnd(server)
    gc.collect()
    gc.freeze()
    gc.disable()  # Nothing here makes cycles, and a collection would unshare pages in every supervisor.
    spawnd.run()
