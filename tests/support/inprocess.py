"""A server inside the test: a runtime, the application and its connections on a free port of loopback."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from watchglass.client.trust import Trust, tls_context
from watchglass.runtime import Runtime, RuntimeOptions, open_runtime
from watchglass.server.app import Application, create_app
from watchglass.server.auth import access
from watchglass.server.config import FeedBounds
from watchglass.server.connections import Connections
from watchglass.server.given_token import Secret
from watchglass.server.leaving import Leaving
from watchglass.server.tls import Certificate, TlsFiles
from watchglass.store.base import Retention, Store
from watchglass.store.memory import open_memory_store
from watchglass.store.numbering import system_clock_us

from .known_host import known_host
from .patience import PATIENT_SOCKET
from .stores import OpenStore

TOKEN = "let-me-in"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back over HTTP."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return orjson.loads(self.content)

    @property
    def code(self) -> str:
        """The error's code."""
        return str(self.json["error"]["code"])


@dataclass(frozen=True, slots=True)
class InProcess:
    """A server that listens."""

    port: int
    runtime: Runtime
    store: Store
    app: Application
    connections: Connections
    leaving: Leaving
    certificate: str | None
    """What it shows, where it speaks TLS."""

    @property
    def tls(self) -> ssl.SSLContext | None:
        """What a client needs to speak TLS with it."""
        return None if self.certificate is None else tls_context(Trust(certificate=self.certificate))

    async def ask(
        self, method: str, path: str, content: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request on a connection of its own; `headers` replace the token."""
        encoded = content if isinstance(content, bytes) else b"" if content is None else orjson.dumps(content)
        sent = {
            "Host": f"127.0.0.1:{self.port}",
            "Connection": "close",
            "Content-Length": str(len(encoded)),
            **(BEARER if headers is None else headers),
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        return parsed(await self.exchange(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + encoded))

    async def exchange(self, sent: bytes) -> bytes:
        """Whatever the server says to these bytes until it closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=self.tls)
        try:
            writer.write(sent)
            await writer.drain()
            return await reader.read()
        finally:
            writer.close()
            await writer.wait_closed()

    def watch(self, worker_id: str, query: str = "", headers: Mapping[str, str] | None = None) -> connect:
        """A feed: `async with server.watch("w") as feed`."""
        return connect(
            f"{'wss' if self.tls else 'ws'}://127.0.0.1:{self.port}/v1/workers/{worker_id}/events/ws{query}",
            additional_headers=BEARER if headers is None else headers,
            ssl=self.tls,
            proxy=None,
            **PATIENT_SOCKET,
        )


def parsed(raw: bytes) -> Answer:
    """An HTTP answer with a body of known length."""
    head, _, content = raw.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Answer(int(status.split()[1]), headers, content)


async def frames(feed: ClientConnection) -> list[Any]:
    """Every frame until the feed closes."""
    told: list[Any] = []
    try:
        while True:
            told.append(await next_frame(feed))
    except ConnectionClosed:
        return told


async def next_frame(feed: ClientConnection) -> Any:
    """One frame."""
    return orjson.loads(await feed.recv())


@asynccontextmanager
async def listening(
    options: RuntimeOptions | None = None,
    *,
    bounds: FeedBounds | None = None,
    retention: Retention | None = None,
    opener: OpenStore = open_memory_store,
    token: str | None = TOKEN,
    origins: tuple[str, ...] = (),
    hosts: tuple[str, ...] = (),
    tls: TlsFiles | None = None,
) -> AsyncIterator[InProcess]:
    """Serve while the block runs."""
    certificate = None if tls is None else Certificate(tls)
    bounds = bounds or FeedBounds(close_s=1.0)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        secret = None if token is None else Secret(token)
        rules = access(host="127.0.0.1", port=port, token=secret, allowed_hosts=hosts, origins=origins)
        options = options or RuntimeOptions()
        async with (
            opener(retention or Retention(), system_clock_us) as store,
            open_runtime(
                _completed(options, store), store, capabilities=await known_host(options)
            ) as runtime,
        ):
            leaving = Leaving()
            app = create_app(runtime, rules, leaving, bounds)
            connections = Connections(
                app,
                stall_s=bounds.stall_s,
                ready_frames=bounds.ready_frames,
                tls=None if certificate is None else certificate.context,
            )
            shown = None if certificate is None else certificate.pem
            async with connections.accepting(listener, close_s=bounds.close_s):
                yield InProcess(port, runtime, store, app, connections, leaving, shown)


def _completed(options: RuntimeOptions, store: Store) -> RuntimeOptions:
    """The options with the id of whose store it is."""
    return options if store.runtime_id is None else replace(options, runtime_id=store.runtime_id)
