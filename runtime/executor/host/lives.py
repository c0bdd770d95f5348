"""A supervisor's lives: one worker after the other, as long as its server has more for it.

A process that was forked a moment ago copies each page that it touches, and takes
more time for that than for all it does. One that has had a worker has them already:
so it offers itself for another one, if nothing of the last is left, neither process,
control group nor unwritten record. Between two workers it holds nothing but its
channel, and leaves when that ends; so it does after a worker that did not start,
that another server had taken up, or that something is left of.
"""

from __future__ import annotations

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
from .supervisor import Supervisor
from .worker import Worker


def supervise(server: socket.socket) -> None:
    """One worker after the other, as the channel brings their plans, until none can come any more."""
    channel = Channel(server)
    while (asked := channel.receive_plan()) is not None:
        if not _live(channel, Plan(asked[0]), asked[1]):
            return
        _forget_life(channel)
        channel.offer()


def _live(channel: Channel, plan: Plan, directory: int) -> bool:
    """Have the worker and its end; whether another one may follow."""
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
        return False
    return Supervisor(plan, loop, worker, channel, listener).run()


def _forget_life(channel: Channel) -> None:
    """The next worker finds us as we were born: with no descriptor of another one, and no garbage."""
    signal.set_wakeup_fd(-1)
    linux.close_all_fds(but=(channel.fileno(),))
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
