"""The first and the last step of the program `watchglass`, so that Ctrl-C never shows a traceback.

What `main` imports takes a quarter of a second, and Python takes a moment to end.
In both nobody is there to catch a KeyboardInterrupt; so there SIGINT ends the
process at once, with the exit code that `main` would have given.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

INTERRUPTED = 130
"""What shells show of a process that SIGINT ended."""


def main() -> int:
    """Run the command line; the exit code."""
    heeded = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # Else as by nohup.
    if heeded:
        _leave_with(INTERRUPTED)
    from .main import main as run

    try:
        if heeded:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        code = run()
        if heeded:
            _leave_with(code)
    except KeyboardInterrupt:  # Before `run` caught it, or behind that.
        _leave_with(code := INTERRUPTED)
    return code


def _leave_with(code: int) -> None:
    def leave(_number: int, _frame: FrameType | None) -> None:
        os._exit(code)  # All that was to be written is.

    signal.signal(signal.SIGINT, leave)
