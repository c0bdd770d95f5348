"""Signals by name, as callers ask for them."""

from __future__ import annotations

import signal

from watchglass.protocol.errors import InvalidRequest


def signal_number(name: str) -> int:
    """The number of a signal named like SIGUSR1 or USR1. Raises InvalidRequest."""
    full = name if name.startswith("SIG") else f"SIG{name}"
    try:
        return signal.Signals[full].value
    except KeyError:
        raise InvalidRequest(
            f"signal: {name!r} is no signal of this system; use a name such as 'SIGUSR1'"
        ) from None
