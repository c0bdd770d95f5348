"""Waiting: no death goes unnoticed."""

from __future__ import annotations

import os
import signal

from watchglass.runtime.executor.host.loop import Loop

from support.patience import PATIENCE_S


def wakes_for_a_death_after_the_wait() -> bool:
    loop = Loop()
    os.kill(os.getpid(), signal.SIGCHLD)
    ready = loop.wait(PATIENCE_S)
    os.kill(os.getpid(), signal.SIGCHLD)
    loop.handle(ready)
    return bool(loop.wait(0))


def test_a_death_between_the_wait_and_its_handlers_ends_the_next_wait() -> None:
    pid = os.fork()  # The wake descriptor is one for the whole process.
    if pid == 0:
        os._exit(0 if wakes_for_a_death_after_the_wait() else 1)
    assert os.waitpid(pid, 0)[1] == 0
