"""The proxy of a worker, as its driver has it: it runs from here to `close`, and tells in events."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence

from watchglass.protocol.events import Event

from .gateway import Gateway
from .proxy import EgressProxy
from .routing import Allowlist


class WorkerEgress:
    """Owns the listener and the task that serves it."""

    def __init__(
        self,
        listener: socket.socket,
        network_allow: Sequence[str],
        gateway: Gateway,
        *,
        on_news: Callable[[], None],
    ) -> None:
        """Begin. `on_news` is called when `take_events` has something, or raises.

        Raises:
            ValueError: An entry of `network_allow` names no place.
        """
        self._listener = listener
        self._proxy = EgressProxy(listener, Allowlist(network_allow), gateway, on_news=on_news)
        self._task = asyncio.create_task(self._proxy.serve(), name="egress proxy")
        self._task.add_done_callback(lambda _task: on_news())

    def take_events(self) -> Sequence[Event]:
        """What there is to tell since the last call. Raises what ended the proxy, if that was not `close`."""
        if self._task.done() and not self._task.cancelled():
            self._task.result()
        return self._proxy.tally.take_events()

    async def close(self) -> Sequence[Event]:
        """End every connection; the last there is to tell. Closing again tells nothing."""
        if self._listener.fileno() < 0:
            return ()
        self._task.cancel()
        await asyncio.wait([self._task])
        self._listener.close()
        usage = self._proxy.tally.usage()
        return [*self._proxy.tally.take_events(), *([] if usage is None else [usage])]
