"""A supervisor forked from the test, which speaks to it as a server does."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from typing import Any

from watchglass.runtime.executor import LaunchPlan
from watchglass.runtime.executor.host import linux, signals, wire
from watchglass.runtime.executor.host.lives import supervise

Frames = list[tuple[int, dict[str, Any]]]


def as_we_are() -> None:
    """The user of the test."""


def supervised(
    plan: LaunchPlan,
    *,
    become: Callable[[], None] = as_we_are,
    on_listener: Callable[[int], None] = os.close,
) -> Frames:
    """The frames that the supervisor of the plan sends, as (kind, JSON); others have none.

    It calls `become` first. The worker is given a line when its program is known to
    run; `on_listener` takes the socket in its network.
    """
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        _supervise(theirs, become)
    theirs.close()
    with ours:
        frames = _frames(ours, plan, on_listener)
    assert os.waitpid(pid, 0)[1] == 0
    return frames


def _frames(ours: socket.socket, plan: LaunchPlan, on_listener: Callable[[int], None]) -> Frames:
    directory = os.open(plan.directory, os.O_RDONLY)
    socket.send_fds(ours, [wire.pack(wire.PLAN, plan.encode())], [directory])
    os.close(directory)
    decoder = wire.Decoder()
    frames: Frames = []
    while not frames or frames[-1][0] not in (wire.EXIT, wire.FAILED):
        received, files, *_ = socket.recv_fds(ours, 1 << 16, 1, socket.MSG_CMSG_CLOEXEC)
        assert received, "the supervisor left without a last word"
        for kind, body in decoder.feed(received):
            frames.append((kind, json.loads(body) if body[:1] == b"{" else {}))
            if kind == wire.STARTED:
                ours.sendall(wire.pack(wire.INPUT, b"go\n"))
        for listener in files:
            on_listener(listener)
    return frames


def _supervise(theirs: socket.socket, become: Callable[[], None]) -> None:
    """Never returns."""
    code = 1
    try:
        os.setsid()
        signals.settle()
        become()
        linux.adopt_orphans()
        linux.refuse_new_privileges()
        supervise(theirs)
        code = 0
    finally:
        os._exit(code)
