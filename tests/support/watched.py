"""One passive worker, `w`, on a server inside the test: what the tests of every transport begin with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from watchglass.protocol.parsing import decode
from watchglass.protocol.workers import CreateWorkerRequest, LifecycleRequest
from watchglass.server.config import FeedBounds

from .inprocess import InProcess, listening

Json = dict[str, Any]

BOUNDS = FeedBounds(close_s=1.0)
"""No feed says where it stands before the next step of a test, however long that takes."""
SPEAKING_SOON = replace(BOUNDS, heartbeat_s=0.2)
"""Quiet feeds say it soon, and so a test of that has not to wait."""


@asynccontextmanager
async def watched(**options: Any) -> AsyncIterator[InProcess]:
    """A server with the worker."""
    async with listening(**{"bounds": BOUNDS, **options}) as server:
        await create(server, "w")
        yield server


async def create(server: InProcess, worker_id: str) -> None:
    """One more passive worker."""
    await server.runtime.create_worker(decode(CreateWorkerRequest, f'{{"worker_id": "{worker_id}"}}'))


async def produce(server: InProcess, *texts: str, name: str = "text_delta", worker_id: str = "w") -> Json:
    """Append events; their `first` and `last` cursors."""
    events = [{"event": name, "data": {"text": text}} for text in texts]
    answer = await server.ask("POST", f"/v1/workers/{worker_id}/events", {"events": events})
    assert answer.status == 200
    cursors: Json = answer.json
    return cursors


async def stop(server: InProcess) -> None:
    """End the worker."""
    await server.runtime.stop("w", LifecycleRequest())


def url(server: InProcess) -> str:
    """Where it listens."""
    return f"{'http' if server.certificate is None else 'https'}://127.0.0.1:{server.port}"
