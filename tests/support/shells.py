"""The three shells of the client behind one interface, so that one suite speaks to all.

A scenario is a coroutine function that gets a `Shell`. For `sync` its awaits
never wait: every method is carried out in place, and the whole scenario is one
step of its coroutine.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, Protocol, Self, TypeVar, cast

import trio

import watchglass.client.aio
import watchglass.client.sync
import watchglass.client.trio
from watchglass.client.async_client import AsyncClient
from watchglass.client.sync import SyncClient

from .patience import PATIENCE_S

T = TypeVar("T")


class Shell(Protocol):
    """One of them."""

    @property
    def name(self) -> str:
        """What it is called."""

    def run(self, scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a scenario to its end; one that hangs fails."""

    @property
    def connect(self) -> Callable[..., AbstractAsyncContextManager[AsyncClient]]:
        """A client."""

    async def in_thread(self, call: Callable[[], T], /) -> T:
        """A call that blocks, while others go on."""


class AsyncioShell:
    """`watchglass.client.connect`."""

    name = "asyncio"
    connect = staticmethod(watchglass.client.aio.connect)

    def run(self, scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(PATIENCE_S):
                await scenario()

        asyncio.run(bounded())

    async def in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.to_thread(call)


class TrioShell:
    """`watchglass.client.trio.connect`."""

    name = "trio"
    connect = staticmethod(watchglass.client.trio.connect)

    def run(self, scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def bounded() -> None:
            with trio.fail_after(PATIENCE_S):
                await scenario()

        trio.run(bounded)

    async def in_thread(self, call: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(call)


class SyncShell:
    """`watchglass.client.sync.connect`."""

    name = "sync"

    def run(self, scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            scenario().send(None)
        except StopIteration:
            return
        raise AssertionError("a scenario for the sync client must not wait for a loop")

    @asynccontextmanager
    async def connect(self, url: str | None = None, **choice: Any) -> AsyncIterator[AsyncClient]:
        with watchglass.client.sync.connect(url, **choice) as wg:
            yield cast(AsyncClient, _InPlace(wg))

    async def in_thread(self, call: Callable[[], T]) -> T:
        return call()


class _InPlace:
    """A `SyncClient` with the interface of an `AsyncClient`."""

    def __init__(self, client: SyncClient) -> None:
        self._client = client

    def follow(self, worker_id: str, *args: Any, **kwargs: Any) -> _Steps:
        return _Steps(self._client.follow(worker_id, *args, **kwargs))

    def follow_all(self, *args: Any, **kwargs: Any) -> _Steps:
        return _Steps(self._client.follow_all(*args, **kwargs))

    def watch(self, worker_id: str, *args: Any, **kwargs: Any) -> _Steps:
        return _Steps(self._client.watch(worker_id, *args, **kwargs))

    def watch_all(self, *args: Any, **kwargs: Any) -> _Steps:
        return _Steps(self._client.watch_all(*args, **kwargs))

    @asynccontextmanager
    async def export_worker(self, worker_id: str) -> AsyncIterator[_Steps]:
        with self._client.export_worker(worker_id) as pieces:
            yield _Steps(pieces)

    def __getattr__(self, name: str) -> Any:
        return partial(self._carry_out, getattr(self._client, name))

    async def _carry_out(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return method(*args, **kwargs)


class _Steps:
    """A generator as an asynchronous iterator and a block."""

    def __init__(self, steps: Iterator[Any]) -> None:
        self._steps = steps

    def __aiter__(self) -> _Steps:
        return self

    async def __anext__(self) -> Any:
        try:
            return next(self._steps)
        except StopIteration:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        close = getattr(self._steps, "close", None)
        if close is not None:
            close()


SHELLS: tuple[Shell, ...] = (AsyncioShell(), TrioShell(), SyncShell())
