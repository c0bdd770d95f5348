"""A follower of a script reads in one thread and writes in another; OpenSSL has one at a time."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import pytest
from websockets.sync.client import ClientConnection

from watchglass.client import follower
from watchglass.client.address import Address
from watchglass.client.faults import Unreachable
from watchglass.client.follower import Follower
from watchglass.client.shared_tls import SharedTls
from watchglass.client.trust import Trust

from support.certificates import Pair, self_signed, takes_openssl
from support.patience import PATIENCE_S

pytestmark = takes_openssl
PIECE_BYTES = 1 << 16


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return self_signed(tmp_path_factory.mktemp("pair"))


@contextmanager
def listening(pair: Pair, serve: Callable[[ssl.SSLSocket], None]) -> Iterator[Address]:
    """Where `serve` has each connection, after its handshake and the tickets that follow it, in a thread."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            while True:
                try:
                    accepted = listener.accept()[0]
                except OSError:
                    return
                with suppress(OSError), context.wrap_socket(accepted, server_side=True) as peer:
                    serve(peer)  # Until the client has had enough, which it may have in the handshake.

        thread = threading.Thread(target=run)
        thread.start()
        try:
            port = listener.getsockname()[1]
            yield Address(f"https://127.0.0.1:{port}", trust=Trust(certificate=pair.cert.read_text()))
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def until_it_leaves(peer: ssl.SSLSocket) -> None:
    """Take what comes, and never answer."""
    while peer.recv(PIECE_BYTES):
        pass


def answer_one(peer: ssl.SSLSocket) -> None:
    """Refuse the upgrade, then wait until the client has left."""
    asked = b""
    while not asked.endswith(b"\r\n\r\n"):
        piece = peer.recv(PIECE_BYTES)
        if not piece:
            return
        asked += piece
    peer.sendall(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
    until_it_leaves(peer)


def connected(address: Address) -> SharedTls:
    context = address.tls()
    assert context is not None
    return SharedTls(context.wrap_socket(socket.create_connection((address.host, address.port))))


def test_a_runtime_that_shakes_hands_and_never_answers_is_given_up(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "OPEN_TIMEOUT_S", 0.2)
    with (
        listening(pair, until_it_leaves) as address,
        Follower(lambda: address, "wk", patience_s=0.1) as there,
        pytest.raises(Unreachable, match="no answer in time"),
    ):
        list(there)


def test_no_two_threads_are_inside_one_connection(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    inside: list[str] = []
    met: list[list[str]] = []
    has_read = threading.Event()

    class Watched(ssl.SSLSocket):
        def recv(self, *args: Any) -> bytes:
            inside.append("reads")
            has_read.set()
            try:
                return super().recv(*args)
            finally:
                inside.remove("reads")

        def send(self, *args: Any) -> int:
            met.append([*inside])
            return super().send(*args)

        def sendall(self, *args: Any) -> None:
            met.append([*inside])
            super().sendall(*args)

    handshake = ClientConnection.handshake

    def late(self: ClientConnection, *args: Any, **more: Any) -> None:
        assert has_read.wait(PATIENCE_S)  # The tickets, and then there is nothing for it.
        handshake(self, *args, **more)

    monkeypatch.setattr(ClientConnection, "handshake", late)
    with listening(pair, answer_one) as address:
        monkeypatch.setattr(address.tls(), "sslsocket_class", Watched)
        with Follower(lambda: address, "wk", patience_s=0.1) as there, pytest.raises(Unreachable):
            list(there)
    assert met
    assert not any(met)


def test_both_directions_carry_every_byte_at_once(pair: Pair) -> None:
    def echo(peer: ssl.SSLSocket) -> None:
        while data := peer.recv(PIECE_BYTES):
            peer.sendall(data)

    sent, got = os.urandom(8 << 20), bytearray()
    with listening(pair, echo) as address, closing(connected(address)) as shared:

        def read() -> None:
            while len(got) < len(sent):
                got.extend(shared.recv(PIECE_BYTES))

        reading = threading.Thread(target=read)
        reading.start()
        for start in range(0, len(sent), PIECE_BYTES):
            shared.sendall(sent[start : start + PIECE_BYTES])
        reading.join(PATIENCE_S)
    assert got == sent


def test_a_reader_is_woken_when_its_socket_is_closed(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[bytes] = []
    has_nothing = threading.Event()

    class Watched(ssl.SSLSocket):
        def recv(self, *args: Any) -> bytes:
            try:
                return super().recv(*args)
            except ssl.SSLWantReadError:
                has_nothing.set()
                raise

    with listening(pair, until_it_leaves) as address:
        monkeypatch.setattr(address.tls(), "sslsocket_class", Watched)
        shared = connected(address)
        reading = threading.Thread(target=lambda: said.append(shared.recv(1)))
        reading.start()
        assert has_nothing.wait(PATIENCE_S)
        shared.close()
        reading.join(PATIENCE_S)
    assert (said, shared.fileno()) == ([b""], -1)
    shared.close()
    assert shared.recv(1) == b""
    with pytest.raises(ConnectionAbortedError):
        shared.sendall(b"late")


def test_a_peer_that_takes_nothing_is_left_in_time(pair: Pair) -> None:
    over = threading.Event()

    def take_nothing(_: ssl.SSLSocket) -> None:
        over.wait(PATIENCE_S)

    with listening(pair, take_nothing) as address, closing(connected(address)) as shared:
        shared.settimeout(0.2)
        with pytest.raises(TimeoutError):
            shared.sendall(bytes(64 << 20))
        over.set()


def test_a_signal_handler_may_shut_down_what_its_thread_is_writing(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[OSError] = []

    class Interrupted(ssl.SSLSocket):
        def send(self, *args: Any) -> int:
            shared.shutdown(socket.SHUT_RDWR)  # Where a handler runs: between two steps of the same thread.
            return super().send(*args)

    def write() -> None:
        try:
            shared.sendall(b"x")
        except OSError as fault:
            said.append(fault)

    with listening(pair, lambda _: None) as address:
        monkeypatch.setattr(address.tls(), "sslsocket_class", Interrupted)
        shared = connected(address)
        writing = threading.Thread(target=write, daemon=True)
        writing.start()
        writing.join(PATIENCE_S)
        assert len(said) == 1
        shared.close()
