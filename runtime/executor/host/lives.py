"""A supervisor's lives: one worker after the other, as long as its server has more for it.

A process that was forked a moment ago copies each page that it touches, and takes
more time for that than for all it does. One that has had a worker has them already:
so it offers itself for another one, if nothing of the last is left, neither process,
control group nor unwritten record. Between two workers it holds nothing but its
channel and the last worker's exit.json, and leaves when the channel ends; so it does
after a worker that did not start, that another server had taken up, or that something
is left of.

A server that has been told the end keeps it in its own journal, so exit.json need not
be on the disk by then; when the server leaves instead of sending the next plan, it is
brought there.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import json
import select
import signal
import socket

from . import entering, linux, wire
from .cgroup import CgroupRefused
from .channel import Channel, Listener
from .child import ForkFailed
from .launch import failed
from .loop import Loop
from .plan import Plan
from .record import Record
from .supervisor import Supervisor
from .worker import Worker


def supervise(server: socket.socket) -> None:
    """One worker after the other, as the channel brings their plans, until none can come any more."""
    channel = Channel(server)
    last: Record | None = None
    while (asked := channel.receive_plan()) is not None:
        if last is not None:
            last.close()
        last = _live(channel, Plan(asked[0]), asked[1])
        if last is None:
            return
        _forget_life(channel, last)
        channel.offer()
    if last is not None:  # Its server left, maybe before its own record of the end was on the disk.
        with contextlib.suppress(OSError):
            last.sync_exit()


def _live(channel: Channel, plan: Plan, directory: int) -> Record | None:
    """Have the worker and its end; what it left on disk, or None when no other worker may follow."""
    loop = Loop()
    listener = None
    try:
        entering.refuse_root(plan)
        if plan.outlives_server:
            listener = Listener(directory)
        worker = Worker(plan, directory)
    except OSError as error:
        failure = _setup_failure(plan, error)
        if listener is not None:
            listener.close()
        fcntl.flock(directory, fcntl.LOCK_UN)  # Before the server knows: it may launch here again at once.
        _tell_failed(channel, loop, failure)
        return None
    return worker.record if Supervisor(plan, loop, worker, channel, listener).run() else None


def _forget_life(channel: Channel, record: Record) -> None:
    """The next worker finds us as we were born: no descriptor of the last but its exit, and no garbage."""
    signal.set_wakeup_fd(-1)
    linux.close_all_fds(but=(channel.fileno(), record.fileno()))
    gc.collect()


def _setup_failure(plan: Plan, error: OSError) -> dict[str, object]:
    if isinstance(error, ForkFailed):
        return failed("spawn", "process", error)
    if isinstance(error, CgroupRefused):
        return failed("cgroup", error.filename, error)
    if isinstance(error, entering.RootUnconfined):
        return failed(
            "sandbox", "bubblewrap as root is no sandbox, and the worker has no uid of its own", error
        )
    return failed("setup", plan.directory, error)


def _tell_failed(channel: Channel, loop: Loop, failure: dict[str, object]) -> None:
    """Send it, however long the server takes to make room for it."""
    channel.send(wire.FAILED, json.dumps(failure).encode())
    if channel.wants_write:
        loop.watch(channel.fileno(), lambda _events: channel.flush(), select.POLLOUT)
    while channel.wants_write:
        loop.handle(loop.wait(None))
