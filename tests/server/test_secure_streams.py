"""TLS below the feed: the same frames, handshakes that are bounded, and ends that are as without it."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from watchglass.protocol.feed_v2 import CloseCode
from watchglass.server.config import FeedBounds
from watchglass.server.frames import FrameSink
from watchglass.server.secure_streams import READ_BYTES
from watchglass.server.tls import TlsFiles

from support.certificates import self_signed, takes_openssl
from support.following import feed_v2
from support.inprocess import InProcess
from support.patience import PATIENCE_S
from support.tasks import soon, until
from support.watched import produce, watched

pytestmark = [takes_openssl, pytest.mark.asyncio]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    return self_signed(tmp_path_factory.mktemp("tls")).files


@pytest_asyncio.fixture
async def server(files: TlsFiles) -> AsyncIterator[InProcess]:
    async with watched(tls=files) as server:
        yield server


def complaints(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.levelno >= logging.WARNING]


async def last_of(feed: ClientConnection) -> str:
    """The last frame before the close."""
    told = ""
    try:
        while True:
            told = str(await feed.recv())
    except ConnectionClosed:
        return told


async def connected(server: InProcess) -> socket.socket:
    """A connection that says nothing of TLS."""
    peer = socket.socket()
    peer.setblocking(False)
    await asyncio.get_running_loop().sock_connect(peer, ("127.0.0.1", server.port))
    return peer


@pytest.mark.parametrize("ready_frames", [True, False], ids=["ready frames", "plain sends"])
async def test_frames_pings_and_closes_pass_as_they_do_without(
    files: TlsFiles, ready_frames: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    write = FrameSink.__init__

    def noted(self: FrameSink, *args: object) -> None:
        write(self, *args)  # type: ignore[arg-type]
        written.append(1)

    monkeypatch.setattr(FrameSink, "__init__", noted)
    async with watched(tls=files, bounds=FeedBounds(close_s=1.0, ready_frames=ready_frames)) as server:
        async with server.watch("w") as feed:
            await feed.recv()
            for number in range(5):
                await produce(server, *[f"{number}.{place}" * 10_000 for place in range(16)])
                pong = await feed.ping()
                frames = [await soon(feed.recv()) for _ in range(16)]
                assert f'"{number}.15{number}.15' in str(frames[-1])
                await soon(pong)
        await soon(server.app.feeds.wait_none_open())
    assert bool(written) is ready_frames


async def test_an_idle_connection_keeps_no_large_buffer(server: InProcess) -> None:
    async with server.watch("w") as feed:
        await feed.recv()
        [connection] = server.connections._open
        inside: Any = connection.transport
        assert len(inside._ssl_protocol._ssl_buffer) == READ_BYTES


async def test_a_peer_that_never_shakes_hands_is_dropped_and_meanwhile_waited_for(
    server: InProcess, caplog: pytest.LogCaptureFixture
) -> None:
    secure = server.connections._secure
    assert secure is not None
    secure._handshake_s = 0.3
    silent = await connected(server)
    await until(lambda: len(secure._shaking) == 1)
    await asyncio.sleep(0)  # It has its time; whoever comes now has more.
    secure._handshake_s = PATIENCE_S
    assert (await server.ask("GET", "/healthz")).status == 200
    assert await soon(asyncio.get_running_loop().sock_recv(silent, 1)) == b""
    silent.close()
    assert complaints(caplog) == []


async def test_what_is_no_tls_is_hung_up_on_with_a_line_for_who_looks(
    server: InProcess, caplog: pytest.LogCaptureFixture
) -> None:
    loop = asyncio.get_running_loop()
    with caplog.at_level(logging.INFO, "watchglass.server.secure_streams"):
        for said in (b"\x16\x03\x01\xff\xff" + b"\x00" * 100, b"\x00" * 200):
            peer = await connected(server)
            await loop.sock_sendall(peer, said)
            while await soon(loop.sock_recv(peer, 1000)):
                pass
            peer.close()
        left = await connected(server)
        left.close()
        told = [record.message for record in caplog.records if "handshake" in record.message]
    assert len(told) >= 2
    assert complaints(caplog) == []


@pytest.mark.parametrize(
    "pieces", [[b"GET / HTTP/1.1\r\n\r\n"], [b"D", b"ELETE /v1/workers/w HT"], [b"PRI * H"]]
)
async def test_plain_http_is_told_that_tls_is_spoken_here(
    server: InProcess, pieces: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    loop = asyncio.get_running_loop()
    peer = await connected(server)
    for piece in pieces:
        await loop.sock_sendall(peer, piece)
    answer = b""
    while b"\r\n\r\n" not in answer or not answer.endswith(b"}}"):
        answer += await soon(loop.sock_recv(peer, 1000))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n")
    assert f"content-length: {len(body)}".encode() in head
    assert b'"code":"tls_required"' in body
    peer.close()
    assert server.connections._secure is not None
    shaking = server.connections._secure._shaking
    await until(lambda: not shaking)
    assert complaints(caplog) == []


async def test_a_body_that_nobody_asked_for_is_thrown_away(server: InProcess) -> None:
    loop = asyncio.get_running_loop()
    peer = await connected(server)
    await loop.sock_sendall(peer, b"POST /v1/workers HTTP/1.1\r\n\r\n")
    for _ in range(100):
        await soon(loop.sock_sendall(peer, b"x" * (1 << 20)))
    assert (await soon(loop.sock_recv(peer, 1000))).startswith(b"HTTP/1.1 400 ")
    peer.close()


async def test_tls_where_none_is_spoken_is_refused_without_a_trace(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.get_running_loop()
    async with watched() as server:
        peer = await connected(server)
        await loop.sock_sendall(peer, b"\x16\x03\x01\x00\xf4\x01\x00\x00\xf0\x03\x03" + b"\x01" * 240)
        assert (await soon(loop.sock_recv(peer, 1000))).startswith(b"HTTP/1.1 400 ")
        peer.close()
        await until(lambda: len(server.connections) == 0)
    assert complaints(caplog) == []


async def test_a_stop_waits_for_no_handshake(files: TlsFiles) -> None:
    loop = asyncio.get_running_loop()
    async with watched(tls=files, bounds=FeedBounds(close_s=0.2)) as server:
        silent = [await connected(server) for _ in range(5)]
        assert server.connections._secure is not None
        shaking = server.connections._secure._shaking
        await until(lambda: len(shaking) == 5)
    assert not shaking
    for peer in silent:
        assert await soon(loop.sock_recv(peer, 1)) == b""
        peer.close()


async def test_an_observer_that_takes_nothing_is_told_and_dropped(files: TlsFiles) -> None:
    async with watched(tls=files, bounds=FeedBounds(stall_s=3.0, close_s=PATIENCE_S)) as server:
        peer = socket.socket()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.setblocking(False)
        await asyncio.get_running_loop().sock_connect(peer, ("127.0.0.1", server.port))
        async with feed_v2(
            f"https://127.0.0.1:{server.port}", "w", sock=peer, ssl=server.tls, server_hostname="glass"
        ) as feed:
            feed.transport.pause_reading()
            [connection] = server.connections._open
            for _ in range(8):
                await produce(server, *["x" * 60_000] * 17)
            await until(lambda: connection.stalled)
            feed.transport.resume_reading()
            told = await soon(last_of(feed))
        assert '"code":"runtime.stalled"' in told
        assert feed.close_code == CloseCode.STALLED
        exposed = (await server.ask("GET", "/metrics")).content.decode()
        assert 'watchglass_feeds_closed_total{reason="runtime.stalled"} 1.0' in exposed


async def test_a_peer_that_never_answers_our_goodbye_is_let_go(
    files: TlsFiles, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("watchglass.server.secure_streams.GOODBYE_S_MAX", 0.3)
    async with watched(tls=files) as server:
        head = f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nConnection: close\r\n\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=server.tls)
        writer.write(head.encode())
        await reader.readuntil(b"}")
        assert isinstance(writer.transport, asyncio.Transport)
        writer.transport.pause_reading()  # From now on it hears nothing, nor our close_notify.
        await until(lambda: len(server.connections) == 0)
        writer.transport.abort()
    assert complaints(caplog) == []


async def test_the_handshake_that_takes_longest_makes_room_for_the_next_connection(server: InProcess) -> None:
    server.connections._room.size = 3
    silent = [await connected(server) for _ in range(3)]
    loop = asyncio.get_running_loop()
    secure = server.connections._secure
    assert secure is not None
    await until(lambda: len(secure._shaking) == 3)
    async with server.watch("w") as feed:
        await feed.recv()
        with suppress(ConnectionResetError):
            assert await soon(loop.sock_recv(silent[0], 1)) == b""
        await until(lambda: len(secure._shaking) == 2)
    for peer in silent:
        peer.close()
