"""SIGHUP means one of two things, and only the terminal knows which.

    the terminal that we were started from is gone   as SIGTERM
    somebody sent it: something has changed          find out anew what it is

Without a handler it would kill the server; with a daemon's usual one a server
would live on when somebody closes the window that it runs in.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


def has_terminal() -> bool:
    """Whether this process has a controlling terminal that is still there, see tty(4)."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Hangup:
    """What to do on a SIGHUP; whether there was a terminal is looked at when this is made."""

    again: Callable[[], object]
    terminated: Callable[[], object]
    had_terminal: bool = field(default_factory=has_terminal)

    def __call__(self) -> None:
        """SIGHUP came."""
        if self.had_terminal and not has_terminal():
            self.terminated()
        else:
            self.again()


@asynccontextmanager
async def hangups(hangup: Hangup) -> AsyncIterator[None]:
    """SIGHUP is handled in the block, on the running loop; behind it, it is ignored."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, hangup)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # Whoever leaves needs no terminal, and no news.
