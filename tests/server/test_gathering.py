"""Writes of one turn of the loop leave together, in order, before the end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from watchglass.server.gathering import GATHERED_BYTES_MAX, KEEPS_UP_BYTES_MAX, GatheringWriter

pytestmark = pytest.mark.asyncio


class Sent(asyncio.Transport):
    """A transport that remembers each call."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[bytes] = []
        self.closing = False
        self.waiting_bytes = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.calls.append(bytes(data))

    def write_eof(self) -> None:
        self.calls.append(b"<eof>")

    def get_write_buffer_size(self) -> int:
        return self.waiting_bytes

    def close(self) -> None:
        self.closing = True

    def is_closing(self) -> bool:
        return self.closing


@asynccontextmanager
async def gathering() -> AsyncIterator[tuple[GatheringWriter, Sent]]:
    sent = Sent()
    loop = asyncio.get_running_loop()
    protocol = asyncio.StreamReaderProtocol(asyncio.StreamReader())
    writer = asyncio.StreamWriter(sent, protocol, None, loop)
    yield GatheringWriter(writer), sent
    sent.close()


async def test_what_is_written_in_one_turn_leaves_in_one_call() -> None:
    async with gathering() as (writer, sent):
        for part in (b"one ", b"two ", b"three"):
            writer.write(part)
        assert sent.calls == []
        await asyncio.sleep(0)
        assert sent.calls == [b"one two three"]


async def test_the_next_turn_is_another_call() -> None:
    async with gathering() as (writer, sent):
        for part in (b"one", b"two"):
            writer.write(part)
            await asyncio.sleep(0)
        assert sent.calls == [b"one", b"two"]


async def test_much_leaves_at_once() -> None:
    async with gathering() as (writer, sent):
        writer.write(b"a" * (GATHERED_BYTES_MAX - 1))
        writer.write(b"b")
        assert [len(call) for call in sent.calls] == [GATHERED_BYTES_MAX]


async def test_the_end_comes_after_everything() -> None:
    async with gathering() as (writer, sent):
        writer.write(b"last word")
        writer.write_eof()
        assert sent.calls == [b"last word", b"<eof>"]


async def test_closing_sends_what_waits_and_takes_no_more() -> None:
    async with gathering() as (writer, sent):
        writer.write(b"last word")
        writer.close()
        assert sent.calls == [b"last word"]
        with pytest.raises(RuntimeError, match="after the end"):
            writer.write(b"too late")


async def test_nothing_is_written_to_a_peer_that_was_dropped() -> None:
    async with gathering() as (writer, sent):
        writer.write(b"for nobody")
        sent.closing = True
        await asyncio.sleep(0)
        assert sent.calls == []


async def test_what_is_written_at_once_leaves_at_once_behind_what_waited() -> None:
    async with gathering() as (writer, sent):
        writer.write(b"the answer to the upgrade")
        assert writer.write_at_once(b"frames")
        assert sent.calls == [b"the answer to the upgrade", b"frames"]
        await asyncio.sleep(0)
        assert len(sent.calls) == 2


async def test_whoever_writes_at_once_hears_of_a_peer_that_does_not_keep_up() -> None:
    async with gathering() as (writer, sent):
        sent.waiting_bytes = KEEPS_UP_BYTES_MAX
        assert writer.write_at_once(b"some")
        sent.waiting_bytes += 1
        assert not writer.write_at_once(b"more")
        assert sent.calls == [b"some", b"more"]


@pytest.mark.parametrize("how", ["dropped", "ended"])
async def test_what_is_written_at_once_behind_the_end_goes_nowhere(how: str) -> None:
    async with gathering() as (writer, sent):
        if how == "dropped":
            sent.closing = True
        else:
            writer.write_eof()
        calls = list(sent.calls)
        assert not writer.write_at_once(b"too late")
        assert sent.calls == calls


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[GatheringWriter, asyncio.StreamReader, asyncio.Transport]]:
    ours, theirs = socket.socketpair()
    _, writer = await asyncio.open_connection(sock=ours)
    reader, other = await asyncio.open_connection(sock=theirs)
    assert isinstance(other.transport, asyncio.Transport)
    try:
        yield GatheringWriter(writer), reader, other.transport
    finally:
        writer.transport.abort()
        other.transport.abort()


async def test_what_the_socket_does_not_take_at_once_follows_in_order() -> None:
    sent = [bytes([number]) * (512 << 10) for number in range(1, 4)]
    async with connected() as (writer, reader, _):
        kept_up = [writer.write_at_once(each) for each in sent]
        assert not any(kept_up), "each is more than the socket and a peer that keeps up may owe"
        writer.write(b"last")
        received = await reader.readexactly(sum(map(len, sent)) + 4)
        assert received == b"".join(sent) + b"last"
        assert writer.write_at_once(b"again")
        assert await reader.readexactly(5) == b"again"


async def test_who_writes_at_once_to_a_peer_that_left_hears_of_it() -> None:
    async with connected() as (writer, _, other):
        other.abort()
        await asyncio.sleep(0)
        writer.write_at_once(b"for nobody")
        assert not writer.write_at_once(b"nor this")
        with pytest.raises(ConnectionError):
            await writer.drain()
