"""Whatever a worker or a place says: one connection ends, and the proxy serves the next."""

from __future__ import annotations

import asyncio
import socket

from hypothesis import given, settings
from hypothesis import strategies as st

from watchglass.runtime.egress.gateway import Gateway
from watchglass.runtime.egress.proxy import EgressProxy
from watchglass.runtime.egress.resolving import SystemResolver
from watchglass.runtime.egress.routing import Allowlist

from support.egress import answering
from support.tasks import soon

HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
PIECES = (
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.0 304 \r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 101 Switching\r\n",
    b"HTTP/1.1 204 No\xff\r\n",
    b"HTTP/2.0 999 X\r\n",
    b"Content-Length: 3\r\n",
    b"Content-Length: 4\r\n",
    b"Content-Length: -1\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip\r\n",
    b"Connection: content-length, host, close\r\n",
    b"Expect: 100-continue\r\n",
    b" folded: yes\r\n",
    b"Host: other.example\r\n",
    b"\r\n",
    b"3\r\nabc\r\n",
    b"0\r\n\r\n",
    b"abc",
    b"\x00\n",
)
GARBAGE = st.lists(st.sampled_from(PIECES) | st.binary(max_size=6), max_size=8).map(b"".join)
HEADS = st.sampled_from(
    [b"", b"GET http://%s/ HTTP/1.1\r\n", b"POST http://%s HTTP/1.0\r\n", b"CONNECT %s HTTP/1.1\r\n"]
)


async def _exchange(head: bytes, said: bytes, answer: bytes) -> None:
    async with answering(answer) as odd, answering(HELLO) as plain:
        await _serve(head.replace(b"%s", odd.place.encode()) + said, odd.place, plain.place)


async def _serve(said: bytes, *allowed: str) -> None:
    resolver = SystemResolver()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        proxy = EgressProxy(listener, Allowlist(allowed), Gateway(resolver), on_news=lambda: None)
        serving = asyncio.create_task(proxy.serve())
        port = listener.getsockname()[1]
        await _ask(port, said)
        get = f"GET http://{allowed[1]}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        assert (await _ask(port, get)).endswith(b"hello")
        assert not serving.done()
        serving.cancel()
        await asyncio.wait([serving])
    resolver.close()


async def _ask(port: int, said: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(said)
        writer.write_eof()
        return await soon(reader.read())
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


@settings(deadline=None, max_examples=80)
@given(head=HEADS, said=GARBAGE, answer=GARBAGE)
def test_garbage_of_either_side_ends_its_own_connection_alone(
    head: bytes, said: bytes, answer: bytes
) -> None:
    asyncio.run(_exchange(head, said, answer))
