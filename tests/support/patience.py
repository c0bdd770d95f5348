"""How long a test waits for what must come.

One bound for all of them: whoever waits that long has met a fault, also on a
machine that is many times slower than ours and has others to serve. A test that
passes takes no longer by it. What a test says of a time itself has its own bound.
"""

from typing import Any, Final

PATIENCE_S: Final = 120
PATIENT_SOCKET: Final[dict[str, Any]] = {"open_timeout": PATIENCE_S, "ping_interval": None}
"""How a client of `websockets` waits as long: of itself it takes a peer that is slow for one that is gone."""
