"""A server that is killed and comes back elsewhere, at a moment that the test chooses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from support.serving import durable_server


@contextmanager
def killable_server(directory: Path, runtime_id: str) -> Iterator[Callable[[], None]]:
    """A server on a store; what it gives kills it with SIGKILL and starts the next one on the same store."""
    with durable_server(directory, runtime_id=runtime_id) as place, ExitStack() as servers:
        servers.enter_context(place.serving())

        def restart() -> None:
            place.kill()
            servers.enter_context(place.serving())

        yield restart
