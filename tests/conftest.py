"""What holds for every test."""

from __future__ import annotations

import signal

# A shell that runs the tests in the background has SIGINT ignored, and what they start would inherit
# that; a Ctrl-C that a test sends must mean something.
signal.signal(signal.SIGINT, signal.default_int_handler)
