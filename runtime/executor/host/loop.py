"""One poll over a handful of descriptors, each with its handler; and the dead of our children."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Callable

WAIT_S_MAX = 3600.0

Handler = Callable[[int], None]
"""Called with the poll events of its descriptor."""


class Loop:
    """Waits for descriptors, deadlines and SIGCHLD. Who registers a descriptor also forgets it."""

    __slots__ = ("_handlers", "_masks", "_poll", "_wake")

    def __init__(self) -> None:
        self._poll = select.poll()
        self._handlers: dict[int, Handler] = {}
        self._masks: dict[int, int] = {}
        self._wake = _wake_on_sigchld()
        self.watch(self._wake, _do_nothing)

    def watch(self, fd: int, handler: Handler, mask: int = select.POLLIN) -> None:
        self._handlers[fd] = handler
        self._masks[fd] = mask
        self._poll.register(fd, mask)

    def set_mask(self, fd: int, mask: int) -> None:
        if self._masks[fd] != mask:
            self._masks[fd] = mask
            self._poll.modify(fd, mask)

    def forget(self, fd: int) -> None:
        """Before or right after `fd` is closed. Forgetting twice changes nothing."""
        if self._handlers.pop(fd, None) is not None:
            del self._masks[fd]
            self._poll.unregister(fd)

    def wait(self, timeout_s: float | None) -> list[tuple[int, int]]:
        """The ready (descriptor, events), or [] after `timeout_s`; a child's death ends the wait too.

        A wait longer than WAIT_S_MAX ends there: who waits looks at the clock again.
        A death after it returned ends the next wait: who reaps right after it misses none.
        """
        if timeout_s is None:
            ready = self._poll.poll()
        else:
            ready = self._poll.poll(int(min(max(0.0, timeout_s), WAIT_S_MAX) * 1000) + 1)
        self._forget_deaths()
        return ready

    def handle(self, ready: list[tuple[int, int]]) -> None:
        for fd, events in ready:
            if handler := self._handlers.get(fd):  # One before may have forgotten it.
                handler(events)

    def _forget_deaths(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake, 4096)


def _wake_on_sigchld() -> int:
    """A descriptor that becomes readable when a child changes its state."""
    wake, woken = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, _note)
    return wake


def _note(_number: int, _frame: object) -> None:
    """A handler must exist for the wake descriptor to be written."""


def _do_nothing(_events: int) -> None:
    """The wake descriptor is read by the wait itself."""
