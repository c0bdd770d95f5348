"""Supervisors whose worker is over and that can have another one; see `host/lives.py`.

They are at rest and hold nothing but their channel. The one that came last is
taken first; one that nobody took in a while is let go, and so is one too many.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
from typing import NamedTuple

from ._channel import Channel
from ._spawner import Forked

SPARES_MAX = 8
"""More are not kept: each holds some 2 MiB of its own."""

REST_S_MAX = 10.0
"""One that rested for so long is let go: a server with nothing to do keeps none."""

LEAVE_S_MAX = 10.0
"""How long those that were let go may take to leave, before they are killed."""


class Supervisor(NamedTuple):
    """One without a worker: what it is known by, and the channel that brings it a plan."""

    process: Forked
    channel: Channel

    def is_ready(self) -> bool:
        """Whether it lives, and has all that was said to it before."""
        poll = select.poll()
        poll.register(self.process.pidfd, select.POLLIN)
        return self.channel.is_settled and not poll.poll(0)


class Spares:
    """Those of one executor, the longest at rest first."""

    def __init__(self) -> None:
        self._resting: dict[Supervisor, asyncio.TimerHandle] = {}
        self._leaving: dict[int, asyncio.Event] = {}  # Their pidfds.
        self._is_closed = False

    def put(self, spare: Supervisor) -> None:
        """Keep it for a while; it is ours now."""
        if self._is_closed:
            self._let_go(spare)
            return
        spare.channel.attach(lambda _kind, _body: self._drop(spare), lambda: self._drop(spare))
        self._resting[spare] = asyncio.get_running_loop().call_later(REST_S_MAX, self._drop, spare)
        if len(self._resting) > SPARES_MAX:
            self._drop(next(iter(self._resting)))

    def take(self, *, spawn_daemon: int | None) -> Supervisor | None:
        """One that is ready, the caller's from now on.

        Only of the spawn daemon that runs: it knows what one that dies leaves behind.
        """
        while self._resting:
            spare, rest = self._resting.popitem()
            rest.cancel()
            if spare.process.spawn_daemon == spawn_daemon and spare.is_ready():
                return spare
            self._let_go(spare)
        return None

    async def close(self) -> None:
        """Let all go, keep no other, and return when they have left. Closing again changes nothing."""
        self._is_closed = True
        for spare in list(self._resting):
            self._drop(spare)
        leaving = list(self._leaving.values())
        try:
            async with asyncio.timeout(LEAVE_S_MAX):
                for gone in leaving:
                    await gone.wait()
        except TimeoutError:
            for pidfd in self._leaving:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            for gone in leaving:
                await gone.wait()

    def _drop(self, spare: Supervisor) -> None:
        """It rested long enough, or it died. Dropping it twice changes nothing."""
        rest = self._resting.pop(spare, None)
        if rest is not None:
            rest.cancel()
            self._let_go(spare)

    def _let_go(self, spare: Supervisor) -> None:
        """It leaves when its channel ends."""
        spare.channel.attach(lambda _kind, _body: None, lambda: None)
        spare.channel.close()
        self._leaving[spare.process.pidfd] = asyncio.Event()
        asyncio.get_running_loop().add_reader(spare.process.pidfd, self._on_death, spare.process.pidfd)

    def _on_death(self, pidfd: int) -> None:
        asyncio.get_running_loop().remove_reader(pidfd)
        os.close(pidfd)
        self._leaving.pop(pidfd).set()
