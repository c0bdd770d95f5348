"""The tokens of a file, as a server knows them: as they are in it now.

Each request that comes with one looks whether the file is another by now (one
stat), so a new token works at once, and a revoked one from the next request on;
`watching` looks for those who only listen.
A file that cannot be used has no tokens until it can be again: rather nobody
than the wrong ones. The log says so, once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from watchglass.client.local import LocalFault
from watchglass.protocol.scopes import Grant

from .callers import Caller
from .tokens_file import digest_of, read_tokens

LOOK_S: Final = 1.0
"""How often the file is looked at for the sake of feeds, which ask nothing any more."""
_LOG = logging.getLogger(__name__)


class _Version(NamedTuple):
    """What tells one state of a file from another."""

    mtime_ns: int
    ctime_ns: int
    size_bytes: int
    inode: int


class TokenBook:
    """Who comes with which token."""

    def __init__(self, path: Path) -> None:
        """Read the file; one that is not there has no tokens. Raises LocalFault."""
        self.path = path
        self.changes = 0
        """How often the file was another one."""
        self._version = self._look()
        self._callers = self._read()

    def caller(self, token: bytes) -> Caller | None:
        """Whose token this is; None: nobody's.

        It is looked up by its hash, so the time that takes tells nothing of it.
        """
        return self.by_digest(digest_of(token))

    def by_digest(self, digest: bytes) -> Caller | None:
        """Who has the token of this hash now."""
        self.refresh()
        return self._callers.get(digest)

    def refresh(self) -> None:
        """Read the file if it is another one."""
        version = self._look()
        if version == self._version:
            return
        self._version = version
        self.changes += 1
        try:
            self._callers = self._read()
        except LocalFault as fault:
            self._callers = {}
            _LOG.error("no token of the tokens file is taken: %s", fault)
        else:
            _LOG.info("tokens read", extra={"path": str(self.path), "tokens": len(self._callers)})

    def _look(self) -> _Version | None:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return _Version(found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino)

    def _read(self) -> dict[bytes, Caller]:
        try:
            entries = read_tokens(self.path)
        except FileNotFoundError:
            return {}
        return {
            digest: Caller(Grant(entry.scope, entry.worker_id), entry.name, digest)
            for entry in entries
            for digest in [bytes.fromhex(entry.sha256)]
        }


@asynccontextmanager
async def watching(book: TokenBook | None, on_change: Callable[[], None]) -> AsyncIterator[None]:
    """While the block runs, `on_change` is called within `LOOK_S` of every change of the file."""
    if book is None:
        yield
        return
    watch = asyncio.create_task(_watch(book, on_change), name="tokens")
    try:
        yield
    finally:
        watch.cancel()
        with suppress(asyncio.CancelledError):
            await watch


async def _watch(book: TokenBook, on_change: Callable[[], None]) -> None:
    seen = book.changes
    while True:
        await asyncio.sleep(LOOK_S)
        book.refresh()
        if book.changes != seen:
            seen = book.changes
            on_change()
