"""Clients of a runtime over HTTP and WebSocket.

`connect` is for asyncio, `watchglass.client.trio.connect` for trio, and
`watchglass.client.sync.connect` for scripts. Names are imported when they are
first used: the command line needs few of them, and none that is slow to load.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .faults import ApiError, BadAnswer, ClientFault, NoRuntime, NoToken, NoTrust, Unreachable

if TYPE_CHECKING:
    from watchglass.protocol.said import FeedRefused, FeedViolation, Joined, Reset, Told

    from .aio import connect
    from .async_client import AsyncClient
    from .sync import SyncClient

__all__ = [
    "ApiError",
    "AsyncClient",
    "BadAnswer",
    "ClientFault",
    "FeedRefused",
    "FeedViolation",
    "Joined",
    "NoRuntime",
    "NoToken",
    "NoTrust",
    "Reset",
    "SyncClient",
    "Told",
    "Unreachable",
    "connect",
]

_SAID = "watchglass.protocol.said"
_LATE = {
    "AsyncClient": f"{__name__}.async_client",
    "FeedRefused": _SAID,
    "FeedViolation": _SAID,
    "Joined": _SAID,
    "Reset": _SAID,
    "SyncClient": f"{__name__}.sync",
    "Told": _SAID,
    "connect": f"{__name__}.aio",
}


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LATE[name]), name)
