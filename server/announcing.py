"""How people and this user's clients are told that a server listens: one line on stderr, one file."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from watchglass.client.local import Discovery, LocalFault, start_ticks, withdraw
from watchglass.runtime import Runtime
from watchglass.store.numbering import rfc3339

from .auth import WILDCARDS, bracketed
from .config import ServeConfig
from .local import announce
from .tls import Certificate

Address = tuple[str, int]
"""Host and port."""
_NO_AUTH: Final = "--no-auth: every program on this machine can run commands through this"
_LOG = logging.getLogger(__name__)


class Announcement:
    """What is told of one server. Its certificate is part of that, and may be read anew."""

    def __init__(
        self,
        config: ServeConfig,
        state: Path,
        runtime: Runtime,
        address: Address,
        certificate: Certificate | None,
    ) -> None:
        """`address` is what the server is bound to."""
        host, port = address
        scheme = "http" if certificate is None else "https"
        self._url = f"{scheme}://{bracketed(host)}:{port}"
        self._state = state
        self._certificate = certificate
        self._auth = config.auth
        self._stands = False
        self._discovery = Discovery(
            url=f"{scheme}://{bracketed(WILDCARDS.get(host, host))}:{port}",
            pid=os.getpid(),
            pid_start_ticks=start_ticks(os.getpid()) or 0,
            runtime_id=runtime.runtime_id,
            display_name=config.runtime.display_name,
            token_file=None if config.token_file is None else str(config.token_file),
            started_at=rfc3339(runtime.started_us),
        )

    @contextmanager
    def standing(self) -> Iterator[None]:
        """It is told while the block runs."""
        self._place()
        self._stands = True
        try:
            if not self._auth:
                say(f"watchglass: WARNING: {_NO_AUTH}")
            say(f"watchglass listening on {self._url} (runtime {self._discovery.runtime_id})")
            yield
        finally:
            self._stands = False
            withdraw(self._state, self._discovery.runtime_id, os.getpid())

    def renew(self) -> None:
        """Read the certificate anew, and tell of it if it is another one."""
        if self._certificate is not None and self._certificate.read_again() and self._stands:
            self._place()

    def _place(self) -> None:
        certificate = None if self._certificate is None else self._certificate.pem
        try:
            announce(self._state, replace(self._discovery, certificate=certificate))
        except LocalFault as fault:  # Whoever knows the address can do without.
            _LOG.warning("clients will not find this server by themselves: %s", fault)


def say(line: str) -> None:
    """A line for people."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
