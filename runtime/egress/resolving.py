"""From a name to addresses, once: what is checked here is what is connected to."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from watchglass.protocol.places import Address

Resolver = Callable[[str], Awaitable[Sequence[Address]]]
"""The addresses of a name, best first. Raises OSError: it has none, or nobody answers."""

LOOKUPS_MAX = 4
"""At once, for all workers: a slow name of one must not stop what else runs in threads."""


class SystemResolver:
    """As the host resolves names, in threads of its own."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(LOOKUPS_MAX, thread_name_prefix="egress-resolver")

    async def __call__(self, name: str) -> Sequence[Address]:
        """See `Resolver`."""
        found = await asyncio.get_running_loop().run_in_executor(self._threads, _look_up, name)
        return list(dict.fromkeys(found))

    def close(self) -> None:
        """Take no more names. A lookup under way ends by itself, and nobody waits for it."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _look_up(name: str) -> list[Address]:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # What the codec of names does not take.
        raise OSError(str(error)) from error
    return [ipaddress.ip_address(str(address[0]).partition("%")[0]) for *_rest, address in found]
