"""A client of HTTP/2 that grants room when it likes, by `h2`, and may break every rule.

async with http2(server) as client:      by TLS, which must choose h2, or h2c: as the server speaks
    stream = await client.ask("/healthz")
    answer = await client.answer(stream)
"""

from __future__ import annotations

import asyncio
import ssl
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings

from .inprocess import BEARER, InProcess
from .tasks import soon


@dataclass(slots=True)
class Told:
    """What came on one stream."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes = b""
    ended: bool = False
    reset: int | None = None
    """The code of the reset that ended it, if one did."""


class Http2Client:
    """One connection."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int, window: int | None
    ) -> None:
        config = h2.config.H2Configuration(
            client_side=True, header_encoding="utf-8", validate_outbound_headers=False
        )
        self.h2 = h2.connection.H2Connection(config)
        if window is not None:
            self.h2.local_settings = h2.settings.Settings(
                client=True, initial_values={h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window}
            )
        self.told: defaultdict[int, Told] = defaultdict(Told)
        self.closed = False
        self.farewell: int | None = None
        """The code of the connection's end, if the server said one (GOAWAY)."""
        self.grants = True
        """Whether what came makes room for more."""
        self._reader = reader
        self._writer = writer
        self._port = port

    async def begin(self) -> None:
        """The preface, and the server's settings."""
        self.h2.initiate_connection()
        await self.flush()
        await self.until(lambda: bool(self.h2.remote_settings.enable_connect_protocol))

    async def ask(
        self,
        path: str,
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "GET",
        content: bytes | None = None,
        more: bool = False,
        **pseudo: str,
    ) -> int:
        """One request, with the token unless `headers` say other; its stream. `more`: its body goes on."""
        stream = self.h2.get_next_available_stream_id()
        sent = {
            ":method": method,
            ":scheme": "https",
            ":path": path,
            ":authority": f"127.0.0.1:{self._port}",
            **{f":{name}": value for name, value in pseudo.items()},
            **{name.lower(): value for name, value in (BEARER if headers is None else headers).items()},
        }
        self.h2.send_headers(stream, list(sent.items()), end_stream=content is None and not more)
        if content is not None:
            self.h2.send_data(stream, content, end_stream=not more)
        await self.flush()
        return stream

    async def websocket(self, path: str, subprotocol: str | None = None) -> int:
        """A WebSocket on a stream of its own (RFC 8441); what is sent and comes are its frames."""
        offer = {} if subprotocol is None else {"sec-websocket-protocol": subprotocol}
        headers = {**BEARER, "sec-websocket-version": "13", **offer}
        return await self.ask(path, headers, method="CONNECT", more=True, protocol="websocket")

    async def send(self, stream: int, content: bytes, *, end: bool = False) -> None:
        """More on a stream."""
        self.h2.send_data(stream, content, end_stream=end)
        await self.flush()

    async def send_raw(self, content: bytes) -> None:
        """Bytes that may be no frames."""
        self._writer.write(content)
        await self._writer.drain()

    async def answer(self, stream: int) -> Told:
        """All of one."""
        told = self.told[stream]
        await self.until(lambda: told.ended)
        return told

    async def until_told(self, stream: int, wanted: bytes) -> None:
        """Return when this has come on a stream."""
        await self.until(lambda: wanted in self.told[stream].content)

    async def until(self, condition: Any) -> None:
        """Hear what comes until this holds; soon."""
        await soon(self._until(condition))

    async def flush(self) -> None:
        """Send what waits."""
        self._writer.write(self.h2.data_to_send())
        await self._writer.drain()

    async def _until(self, condition: Any) -> None:
        while not condition():
            data = await self._reader.read(1 << 16)
            if not data:
                self.closed = True
                assert condition(), "the connection is closed"
                return
            for event in self.h2.receive_data(data):
                self._hear(event)
            await self.flush()

    def _hear(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ResponseReceived):
            told = self.told[event.stream_id]
            told.headers = {str(name): str(value) for name, value in event.headers}
            told.status = int(told.headers[":status"])
        elif isinstance(event, h2.events.DataReceived):
            self.told[event.stream_id].content += event.data
            if self.grants and event.flow_controlled_length:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.farewell = int(event.error_code or 0)
        elif isinstance(event, h2.events.StreamEnded):
            self.told[event.stream_id].ended = True
        elif isinstance(event, h2.events.StreamReset):
            self.told[event.stream_id].ended = True
            self.told[event.stream_id].reset = int(event.error_code)


@asynccontextmanager
async def http2(server: InProcess, *, window: int | None = None) -> AsyncIterator[Http2Client]:
    """A connection; `window` is the room that each stream has at first."""
    context = None if server.certificate is None else ssl.create_default_context(cadata=server.certificate)
    if context is not None:
        context.check_hostname = False
        context.set_alpn_protocols(["h2"])
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
    try:
        chosen = writer.get_extra_info("ssl_object")
        assert chosen is None or chosen.selected_alpn_protocol() == "h2"
        client = Http2Client(reader, writer, server.port, window)
        await client.begin()
        yield client
    finally:
        writer.transport.abort()
