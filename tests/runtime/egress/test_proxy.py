"""The proxy with real sockets: what it lets through, what it refuses, and what it costs at most."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import os
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from watchglass.protocol.places import Address
from watchglass.runtime.egress.gateway import Gateway, Passed
from watchglass.runtime.egress.proxy import EgressLimits, EgressProxy
from watchglass.runtime.egress.request import HEAD_BYTES_MAX
from watchglass.runtime.egress.resolving import Resolver
from watchglass.runtime.egress.routing import Allowlist

from support.egress import answering, echo, serving
from support.tasks import soon, until

pytestmark = pytest.mark.asyncio

DEFAULT = EgressLimits()
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: text/plain\r\n\r\nhello"
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


class Way:
    """A proxy that serves, and connections to it."""

    def __init__(self, proxy: EgressProxy, port: int) -> None:
        self.proxy = proxy
        self.port = port
        self.news = 0

    async def connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def ask(self, said: bytes) -> bytes:
        """All that is answered to these bytes."""
        reader, writer = await self.connected()
        try:
            writer.write(said)
            return await soon(reader.read())
        finally:
            writer.close()

    async def status(self, said: bytes) -> int:
        return int((await self.ask(said)).split()[1])

    async def status_at_once(self, said: bytes) -> int:
        """The status of a few bytes that are there when the proxy accepts: no pause of ours is theirs."""
        with socket.create_connection(("127.0.0.1", self.port)) as connected:
            connected.sendall(said)
            reader, writer = await asyncio.open_connection(sock=connected)
            answer = await soon(reader.readline())
            writer.close()
        return int(answer.split()[1])

    def denials(self) -> list[tuple[object, ...]]:
        return [tuple(event.data.values()) for event in self.proxy.tally.take_events()]


async def nobody(name: str) -> Sequence[Address]:
    raise OSError(errno.ENOENT, f"nobody knows {name}")


@asynccontextmanager
async def way(
    *allowed: str,
    resolve: Resolver = nobody,
    limits: EgressLimits = DEFAULT,
    gateway: Gateway | None = None,
) -> AsyncIterator[Way]:
    """After the block no task of the proxy is left; a descriptor that is would warn, and so fail the test."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    made: list[Way] = []
    proxy = EgressProxy(
        listener,
        Allowlist(allowed),
        gateway or Gateway(resolve),
        on_news=lambda: setattr(made[0], "news", made[0].news + 1),
        limits=limits,
    )
    made.append(Way(proxy, listener.getsockname()[1]))
    task = asyncio.create_task(proxy.serve())
    try:
        yield made[0]
        assert not task.done()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await soon(task)
        listener.close()
    assert not [task for task in asyncio.all_tasks() if "egress" in task.get_name()]


def get(place: str, path: str = "/", *headers: str, method: str = "GET", body: str = "") -> bytes:
    lines = [f"{method} http://{place}{path} HTTP/1.1", f"Host: {place}", *headers, "", body]
    return "\r\n".join(lines).encode()


def connect(place: str) -> bytes:
    return f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n".encode()


async def test_a_listed_place_is_reached_by_a_plain_request() -> None:
    async with answering(OK) as place, way(place.place) as out:
        answer = await out.ask(get(place.place, "/path?query=1"))
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert answer.endswith(b"\r\n\r\nhello")
        assert place.heard[0].startswith(b"GET /path?query=1 HTTP/1.1\r\n")
        assert (out.proxy.tally.connections, out.proxy.tally.denied) == (1, 0)
        assert out.proxy.tally.sent_bytes == len(place.heard[0])
        assert out.proxy.tally.received_bytes == len(OK)


async def test_a_tunnel_carries_any_bytes_both_ways_and_each_end_by_itself() -> None:
    sent = os.urandom(3 << 20)
    async with serving(echo) as place, way(place.place) as out:
        reader, writer = await out.connected()
        writer.write(connect(place.place) + sent[:100])  # What comes too early is not lost.
        assert await soon(reader.readuntil(b"\r\n\r\n")) == ESTABLISHED
        writer.write(sent[100:])
        writer.write_eof()
        assert await soon(reader.read()) == sent
        writer.close()
        await until(lambda: out.proxy.tally.received_bytes == len(sent))
        assert out.proxy.tally.sent_bytes == len(sent)


async def test_a_place_that_breaks_off_breaks_the_tunnel_off() -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, bytes([1, 0, 0, 0, 0, 0, 0, 0])
        )
        writer.transport.abort()

    async with serving(reset) as place, way(place.place) as out:
        reader, writer = await out.connected()
        writer.write(connect(place.place))
        await soon(reader.readuntil(b"\r\n\r\n"))
        writer.write(b"x")
        with pytest.raises(ConnectionResetError):
            await soon(reader.read())
        writer.close()


@pytest.mark.parametrize("ask", [connect, get])
async def test_what_is_not_listed_is_refused_and_told(ask: object) -> None:
    async with answering(OK) as place, way(place.place) as out:
        for target in (f"127.0.0.1:{place.port + 1}", f"localhost:{place.port}", f"[::1]:{place.port}"):
            answer = await out.ask(ask(target))  # type: ignore[operator]
            assert answer.startswith(b"HTTP/1.1 403 Forbidden\r\n")
            assert f"egress to {target}: not_allowed\n".encode() in answer
        assert [(host, reason) for host, _, reason, _ in out.denials()] == [
            ("127.0.0.1", "not_allowed"),
            ("localhost", "not_allowed"),
            ("::1", "not_allowed"),
        ]
        assert out.news == 3
        assert place.heard == []
        assert out.proxy.tally.connections == 0


@pytest.mark.parametrize("address", ["169.254.169.254", "127.0.0.1", "10.0.0.1", "fd00:ec2::254"])
async def test_a_listed_name_that_leads_to_a_private_address_is_refused_and_told(address: str) -> None:
    async def resolve(_name: str) -> Sequence[Address]:
        return [ipaddress.ip_address(address)]

    async with way("example.org:80", resolve=resolve) as out:
        assert await out.status(get("example.org")) == 403
        assert out.denials() == [("example.org", 80, "private_address", 1)]


async def test_a_name_is_resolved_once_for_the_check_and_the_connection() -> None:
    """A second answer, as a rebinding DNS would give it, is never asked for."""
    async with answering(OK) as place:
        answers = [[ipaddress.ip_address("127.0.0.1")], [ipaddress.ip_address("127.0.0.9")]]

        async def resolve(_name: str) -> Sequence[Address]:
            return answers.pop(0)

        async with way(f"example.org:{place.port}", place.place, resolve=resolve) as out:
            assert await out.status(get(f"example.org:{place.port}")) == 200
            assert len(answers) == 1
            assert await out.status(get(f"example.org:{place.port}")) == 403


async def test_the_target_counts_and_not_the_host_header() -> None:
    async with answering(OK) as place, way(place.place) as out:
        said = get(place.place).replace(b"Host: " + place.place.encode(), b"Host: other.example")
        assert (await out.ask(said)).startswith(b"HTTP/1.1 200 ")
        assert b"\r\nhost: " + place.place.encode() + b"\r\n" in place.heard[0].lower()
        assert b"other.example" not in place.heard[0]
        lie = b"GET http://other.example/ HTTP/1.1\r\nHost: " + place.place.encode() + b"\r\n\r\n"
        assert await out.status(lie) == 403
        assert len(place.heard) == 1


async def test_headers_of_one_hop_stay_there() -> None:
    answer = (
        b"HTTP/1.1 200 OK\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nX-End: 2\r\nKeep-Alive: 5\r\n\r\nhello"
    )
    async with answering(answer) as place, way(place.place) as out:
        got = await out.ask(
            get(
                place.place,
                "/",
                "Connection: keep-alive, X-Mine",
                "X-Mine: 1",
                "Proxy-Authorization: Basic c2VjcmV0",
                "Proxy-Connection: keep-alive",
                "Upgrade: websocket",
                "TE: trailers",
                "X-Theirs: 2",
            )
        )
        head = place.heard[0].lower()
        for name in (b"x-mine", b"proxy-", b"upgrade", b"te:", b"keep-alive"):
            assert name not in head
        assert b"x-theirs: 2" in head
        assert b"\r\nconnection: close\r\n" in head
        back = got.lower().partition(b"\r\n\r\n")[0]
        assert b"x-hop" not in back
        assert b"keep-alive" not in back
        assert b"x-end: 2" in back
        assert b"hello" in got


async def test_a_second_request_behind_the_first_is_not_sent_on() -> None:
    async with answering(OK) as place, way(place.place) as out:
        second = b"GET http://other.example/ HTTP/1.1\r\nHost: other.example\r\n\r\n"
        answer = await out.ask(get(place.place) + second)
        assert answer.count(b"HTTP/1.1") == 1
        await until(lambda: place.heard[0].endswith(b"\r\n\r\n"))
        assert b"other.example" not in place.heard[0]
        assert len(place.heard) == 1


@pytest.mark.parametrize(
    ("framing", "body"),
    [("Content-Length: 4", b"body"), ("Transfer-Encoding: chunked", b"3\r\nbod\r\n1\r\ny\r\n0\r\n\r\n")],
)
async def test_a_body_is_sent_on_whole(framing: str, body: bytes) -> None:
    got = asyncio.Queue[bytes]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        rest = await (reader.readuntil(b"0\r\n\r\n") if b"chunked" in head else reader.readexactly(4))
        got.put_nowait(rest)
        writer.write(OK)
        await writer.drain()

    async with serving(serve) as place, way(place.place) as out:
        said = get(place.place, "/", framing, method="POST") + body
        assert await out.status(said) == 200
        assert b"".join((await got.get()).split(b"\r\n")) in (b"body", b"3bod1y0")


async def test_a_body_that_breaks_off_is_never_whole_at_the_place() -> None:
    heard = asyncio.Queue[bytes]()

    async def serve(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        heard.put_nowait(await reader.read())

    async with serving(serve) as place, way(place.place) as out:
        _, writer = await out.connected()
        writer.write(get(place.place, "/", "Transfer-Encoding: chunked", method="POST") + b"3\r\nbod\r\n")
        writer.write_eof()
        said = await soon(heard.get())
        assert b"bod" in said
        assert not said.endswith(b"0\r\n\r\n")
        writer.close()


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET https://a.example/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET ftp://a.example/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET http://user:pw@a.example/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET http://a.example#/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET http://a.example\\@b.example/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET http:///path HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"CONNECT a.example HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"CONNECT user@a.example:443 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"CONNECT http://a.example:443 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"TRACE http://a.example/ HTTP/1.1\r\nHost: a\r\n\r\n", 501),
        (b"GET http://a.example/ HTTP/1.1\r\n\r\n", 400),
        (b"GET http://a.example/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET http://a.example/ HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET http://a.example/ HTTP/1.1\r\nX: " + b"x" * 4 * HEAD_BYTES_MAX, 431),
    ],
)
async def test_what_is_no_request_for_a_proxy_is_refused_and_counted(said: bytes, status: int) -> None:
    async with way("a.example:80") as out:
        assert await out.status(said) == status
        assert out.denials() == [(None, None, "malformed_request", 1)]


async def test_who_never_ends_a_head_is_cut_off_and_others_are_served_meanwhile() -> None:
    limits = EgressLimits(head_s=0.2, connections_max=3)
    async with answering(OK) as place, way(place.place, limits=limits) as out:
        slow = [await out.connected() for _ in range(2)]
        for _, writer in slow:
            writer.write(b"GET http://a.exam")
        assert await out.status_at_once(get(place.place)) == 200
        for reader, writer in slow:
            assert await soon(reader.read()) == b""
            writer.close()


async def test_more_connections_than_allowed_wait_for_their_turn() -> None:
    async with serving(echo) as place, way(place.place, limits=EgressLimits(connections_max=1)) as out:
        reader, writer = await out.connected()
        writer.write(connect(place.place))
        await soon(reader.readuntil(b"\r\n\r\n"))
        waiting = asyncio.create_task(out.ask(connect("other.example:1")))
        writer.write(b"still mine")
        assert await soon(reader.readexactly(10)) == b"still mine"
        assert not waiting.done()
        assert out.proxy.tally.denied == 0
        writer.close()
        assert (await soon(waiting)).startswith(b"HTTP/1.1 403 ")


async def test_a_tunnel_that_stands_still_is_broken_off() -> None:
    async with serving(echo) as place, way(place.place, limits=EgressLimits(idle_s=0.1)) as out:
        reader, writer = await out.connected()
        writer.write(connect(place.place))
        await soon(reader.readuntil(b"\r\n\r\n"))
        with pytest.raises(ConnectionResetError):
            await soon(reader.read())
        writer.close()


async def test_a_place_that_nobody_serves_is_a_bad_gateway_and_no_denial() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        closed = f"127.0.0.1:{unused.getsockname()[1]}"
    async with way(closed, "example.org:80") as out:
        assert await out.status(connect(closed)) == 502
        assert await out.status(get("example.org")) == 502
        assert out.proxy.tally.denied == 0


async def test_a_name_that_nobody_resolves_in_time_is_a_gateway_timeout() -> None:
    async def resolve(_name: str) -> Sequence[Address]:
        await asyncio.Event().wait()
        return []

    async with way("example.org:80", resolve=resolve, limits=EgressLimits(connect_s=0.1)) as out:
        assert await out.status(get("example.org")) == 504


@pytest.mark.parametrize(
    "answer", [b"", b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/1.1 101 Switching Protocols\r\n\r\n"]
)
async def test_an_answer_that_is_no_response_is_a_bad_gateway(answer: bytes) -> None:
    async with answering(answer) as place, way(place.place) as out:
        assert await out.status(get(place.place)) == 502


async def test_a_response_that_breaks_off_is_not_made_whole() -> None:
    async with answering(OK[:-2]) as place, way(place.place) as out:
        with pytest.raises(ConnectionResetError):
            await out.ask(get(place.place))
        assert out.proxy.tally.denied == 0


async def test_a_worker_that_hammers_is_told_of_in_few_words() -> None:
    async with way() as out:
        for _ in range(25):
            assert await out.status(connect("a.example:1")) == 403
        assert out.denials() == [("a.example", 1, "not_allowed", 1), ("a.example", 1, "not_allowed", 10)]
        assert out.news == 2
        assert out.proxy.tally.denied == 25


async def test_workers_share_the_room_and_a_connection_beyond_it_waits() -> None:
    gateway = Gateway(nobody, connections_max=1)
    async with (
        serving(echo) as place,
        way(place.place, gateway=gateway) as one,
        way(place.place, gateway=gateway) as other,
    ):
        reader, writer = await one.connected()
        writer.write(connect(place.place))
        assert await soon(reader.readuntil(b"\r\n\r\n")) == ESTABLISHED
        waiting = asyncio.create_task(other.status(connect("a.example:1")))
        await until(lambda: bool(gateway.waiting))
        assert (gateway.open, gateway.waiting) == (1, 1)
        assert not waiting.done()
        writer.close()
        assert await waiting == 403
        await until(lambda: gateway.open == 0)


async def test_what_all_workers_did_is_summed_also_when_they_have_ended() -> None:
    gateway = Gateway(nobody)
    async with answering(OK) as place, way(place.place, gateway=gateway) as out:
        async with way(gateway=gateway) as ended:
            assert await ended.status(connect("a.example:1")) == 403
        await out.ask(get(place.place))
        assert gateway.passed == Passed(1, len(place.heard[0]), len(OK), 1)
    assert gateway.passed == Passed(1, len(place.heard[0]), len(OK), 1)


async def test_connections_end_with_the_proxy() -> None:
    async with serving(echo) as place:
        async with way(place.place) as out:
            reader, writer = await out.connected()
            writer.write(connect(place.place))
            await soon(reader.readuntil(b"\r\n\r\n"))
        assert await soon(reader.read()) == b""
        writer.close()
