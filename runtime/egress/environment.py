"""The variables by which programs find the proxy."""

from __future__ import annotations

from collections.abc import Sequence

from watchglass.protocol.places import allowed_place
from watchglass.runtime.executor.host.netns import PORT

PROXY_URL = f"http://127.0.0.1:{PORT}"

_OWN = ("localhost", "127.0.0.1", "::1")


def proxy_environment(network_allow: Sequence[str]) -> dict[str, str]:
    """In both spellings, as programs differ.

    What a worker serves on its own loopback it reaches without the proxy, unless
    the list has a place of the host there: then that name means the host's.
    """
    named = {allowed_place(text).place.host for text in network_allow}
    direct = ",".join(name for name in _OWN if name not in named)
    variables = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), PROXY_URL) | {"NO_PROXY": direct}
    return variables | {name.lower(): value for name, value in variables.items()}
