"""A connection that is lost before its first request is out is one that was lost, to every client."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection as AsyncioConnection
from websockets.sync.client import ClientConnection as SyncConnection

from watchglass.client.address import Address
from watchglass.client.aio import connect
from watchglass.client.faults import Unreachable
from watchglass.client.follower import Follower


@pytest.fixture
def address() -> Iterator[Address]:
    """Where each connection is closed as soon as it is there."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drop() -> None:
            with suppress(OSError):
                while True:
                    listener.accept()[0].close()

        dropping = threading.Thread(target=drop)
        dropping.start()
        yield Address(f"http://127.0.0.1:{listener.getsockname()[1]}")
        listener.shutdown(socket.SHUT_RDWR)
        dropping.join()


def test_a_follower_of_a_script_gives_up_after_its_patience(
    address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    handshake = SyncConnection.handshake

    def late(self: SyncConnection, *args: Any, **more: Any) -> None:
        self.recv_events_thread.join()  # It has seen the end.
        handshake(self, *args, **more)

    monkeypatch.setattr(SyncConnection, "handshake", late)
    with Follower(lambda: address, "wk", patience_s=0.2) as follower, pytest.raises(Unreachable):
        list(follower)


@pytest.mark.asyncio
async def test_a_follower_of_asyncio_gives_up_after_its_patience(
    address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    handshake = AsyncioConnection.handshake

    async def late(self: AsyncioConnection, *args: Any, **more: Any) -> None:
        await asyncio.wait([self.connection_lost_waiter])
        await handshake(self, *args, **more)

    monkeypatch.setattr(AsyncioConnection, "handshake", late)
    async with connect(address.url, token="a token") as client:
        with pytest.raises(Unreachable):
            async for _ in client.follow("wk", patience_s=0.2):
                pass
