"""What the host can do, found out at the start and whenever somebody asks again.

A probe costs processes and some hundred milliseconds: those who ask while one
runs share it. The first one runs beside whatever else the start does, and no
worker is planned or launched before it is over. Whoever knows the host already
says so, and then the first one is that of the first who asks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from watchglass.protocol.errors import LaunchFailed

from .capabilities import HostCapabilities

_LOG = logging.getLogger(__name__)


class Probing:
    """The newest answer of a probe; without one, a host of which nothing is known."""

    def __init__(
        self, probe: Callable[[], Awaitable[HostCapabilities]], known: HostCapabilities | None = None
    ) -> None:
        self._probe = probe
        self._running: asyncio.Task[None] | None = None
        self._fault: LaunchFailed | None = None
        self._is_known = asyncio.Event()
        self.capabilities = HostCapabilities() if known is None else known
        if known is not None:
            self._is_known.set()

    def begin(self) -> None:
        """Find out what is not known yet, in the background."""
        if not self._is_known.is_set():
            self.start()

    def start(self) -> asyncio.Task[None]:
        """Probe in the background, unless that is under way; a failure is logged."""
        if self._running is None:
            self._running = asyncio.create_task(self._run(), name="probe of the host")
        return self._running

    async def wait_known(self) -> None:
        """Return when the first probe is over. One that failed is over too: then nothing can be done."""
        await self._is_known.wait()

    async def again(self) -> HostCapabilities:
        """Probe, or share the probe that is under way; what it found.

        A cancelled caller leaves the probe to the others.

        Raises:
            LaunchFailed: It gave no answer; what was known before still holds.
        """
        await asyncio.shield(self.start())
        if self._fault is not None:
            raise self._fault
        return self.capabilities

    async def close(self) -> None:
        """End a probe that is under way."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])

    async def _run(self) -> None:
        try:
            self.capabilities = await self._probe()
            self._fault = None
        except LaunchFailed as fault:
            self._fault = fault
            _LOG.warning("what this host can do is not known: %s", fault)
        finally:
            self._running = None
            self._is_known.set()
