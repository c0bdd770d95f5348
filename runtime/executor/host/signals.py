"""What signals mean outside the server, and what they mean to a worker: nothing special."""

from __future__ import annotations

import signal

IGNORED = (
    signal.SIGINT,  # A terminal's Ctrl-C and a service manager's first signal
    signal.SIGQUIT,  # are for the server, which then tells us.
    signal.SIGHUP,
    signal.SIGTERM,
    signal.SIGPIPE,  # The write that meets a closed end says so too.
    signal.SIGXFSZ,  # The same for one over a file size limit.
)


def settle() -> None:
    """In the spawn daemon, once: forget what the server inherited or set, and ignore IGNORED."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN if number in IGNORED else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def reset() -> None:
    """In what becomes the worker: an ignored signal would survive exec. The rest is as `settle` left it."""
    for number in (*IGNORED, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
