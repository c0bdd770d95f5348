"""A port where a connection is never made: whoever comes waits for an answer to its SYN."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .processes import wait_true


@dataclass(frozen=True, slots=True)
class Unanswered:
    """Where it is."""

    port: int

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def wait_somebody(self) -> None:
        """Return when somebody waits there."""
        wait_true(self._is_awaited, "nobody comes")

    def _is_awaited(self) -> bool:
        """Whether a connection is in SYN_SENT, see proc_pid_net(5)."""
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return any(row[2].endswith(f":{self.port:04X}") and row[3] == "02" for row in rows)


@contextmanager
def unanswered() -> Iterator[Unanswered]:
    """While the block runs: its backlog is one, and taken."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        with socket.create_connection(listener.getsockname()):
            yield Unanswered(listener.getsockname()[1])
