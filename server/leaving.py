"""How a server is asked to leave, and what it does with its workers then.

    SIGINT, POST /v1/runtime/drain    end every worker, then leave
    SIGTERM                           the same, or leave them running (`--keep-workers`)
    one more signal                   do not wait for workers that are ending: kill them

The first wish decides. A later one never ends workers that the server has let
go, and never keeps those that it is ending.
"""

from __future__ import annotations

import asyncio
import logging

from watchglass.protocol.errors import RuntimeStopped
from watchglass.protocol.identity import RuntimeId

_LOG = logging.getLogger(__name__)


class Leaving:
    """What signals and callers asked for. Its owner waits for `asked`, then does it."""

    def __init__(self, *, keep_workers: bool = False) -> None:
        self._may_keep = keep_workers
        self.asked = asyncio.Event()
        self.hurried = asyncio.Event()
        self.keeps_workers = False
        """Whether workers go on without the server; it counts once `asked` is set."""

    def interrupted(self) -> None:
        """SIGINT came."""
        self._signalled(keeps_workers=False)

    def terminated(self) -> None:
        """SIGTERM came."""
        self._signalled(keeps_workers=self._may_keep)

    def drain(self, runtime_id: RuntimeId, reason: str | None) -> None:
        """A caller asks that every worker be ended. Asking again changes nothing.

        Raises:
            RuntimeStopped: The server leaves already, and its workers stay.
        """
        if self.asked.is_set() and self.keeps_workers:
            raise RuntimeStopped(runtime_id)
        if not self.asked.is_set():
            _LOG.info("drain", extra={"reason": reason})
            self.asked.set()

    def _signalled(self, *, keeps_workers: bool) -> None:
        if self.asked.is_set():
            self.hurried.set()
            return
        self.keeps_workers = keeps_workers
        self.asked.set()
