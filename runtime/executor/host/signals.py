"""What signals mean outside the server, and what they mean to a worker: nothing special.

What is to pass us by is caught, and not ignored: an exec gives what was caught its
default back, so a worker finds no trace of us, and nothing is done for that between
its fork and its exec.
"""

from __future__ import annotations

import signal

CAUGHT = (
    signal.SIGINT,  # A terminal's Ctrl-C and a service manager's first signal
    signal.SIGQUIT,  # are for the server, which then tells us.
    signal.SIGHUP,
    signal.SIGTERM,
    signal.SIGPIPE,  # The write that meets a closed end says so too.
    signal.SIGXFSZ,  # The same for one over a file size limit.
)


def settle() -> None:
    """In the spawn daemon, once: forget what the server inherited or set, and let CAUGHT pass by."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, _pass_by if number in CAUGHT else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _pass_by(_number: int, _frame: object) -> None:
    """What was interrupted goes on by itself, see PEP 475."""
