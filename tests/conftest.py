"""What holds for every test.

Hypothesis is bounded by examples, not by time, and runs the same each time in CI.
"""

from __future__ import annotations

import os
import signal
import sys

from hypothesis import HealthCheck, settings

settings.register_profile(
    "watchglass",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],  # A time, too.
    derandomize="CI" in os.environ,
)
settings.load_profile("watchglass")

# A shell that runs the tests in the background has SIGINT ignored, nohup SIGHUP, and what they start would
# inherit that; a Ctrl-C or a hangup that a test sends must mean something.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Where bytecode is not to be kept, each process that a test starts would compile all of our code anew:
# half of what its start takes.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


def pytest_xdist_auto_num_workers() -> int:
    """With `-n auto`: two for each processor, for nearly half of the time a test waits for something."""
    return 2 * len(os.sched_getaffinity(0))
