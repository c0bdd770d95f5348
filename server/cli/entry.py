"""The first and the last step of the program `watchglass`, so that Ctrl-C never shows a traceback.

What `main` imports takes a quarter of a second, and Python takes a moment to end.
In both nobody is there to catch a KeyboardInterrupt; so there SIGINT ends the
process at once, with the exit code that `main` would have given. It begins when
this module is imported, which nothing but the program does.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

_INTERRUPTED = 130  # As in `faults`, which takes a while to import.


def main() -> int:
    """Run the command line; the exit code."""
    from .main import main as run

    try:
        if _HEEDED:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        code = run()
        _leave_with(code)
    except KeyboardInterrupt:  # Before `run` would catch it, or behind that.
        _leave_with(code := _INTERRUPTED)
    return code


def _leave_with(code: int) -> None:
    """What SIGINT does from now on, unless it is ignored."""

    def leave(_number: int, _frame: FrameType | None) -> None:
        os._exit(code)  # All that was to be written is.

    if _HEEDED and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, leave)


_HEEDED = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # Else as by nohup.
_leave_with(_INTERRUPTED)
