"""The program `watchglass`, from its first moment.

What the command line needs takes a fifth of a second to import. Who presses
Ctrl-C in it wants to leave, and no list of the modules that were on their way.
"""

from __future__ import annotations

import signal
from collections.abc import Callable


def main() -> int:
    """Run the command line; the exit code. A SIGINT before it has begun ends the process without a word."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:  # Such as ignored, below nohup.
        return _begin()()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    run = _begin()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return run()


def _begin() -> Callable[[], int]:
    from .main import main as run

    return run
