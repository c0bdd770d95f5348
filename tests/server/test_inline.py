"""A request is answered where it came in: whole bodies, slow ones, long ones, and clients that leave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from quart import Quart, Response, request

from watchglass.server.inline import BODY_BYTES_MAX, InlineConnection

from support.patience import PATIENCE_S

pytestmark = pytest.mark.asyncio


class Client:
    """One request, spoken as ASGI; what is answered is in `sent`."""

    def __init__(self, app: Quart, method: str, path: str, length: int | None = None) -> None:
        headers = [] if length is None else [(b"content-length", str(length).encode())]
        self._says: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.sent: list[dict[str, Any]] = []
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(b"host", b"test"), *headers],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
            "root_path": "",
            "extensions": {},
        }
        self.exchange = asyncio.ensure_future(app(scope, self._says.get, self._send))  # type: ignore[arg-type]

    async def _send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.leave()  # As ASGI has it: after the answer comes the end.

    def say(self, body: bytes, *, more: bool = False) -> None:
        self._says.put_nowait({"type": "http.request", "body": body, "more_body": more})

    def leave(self) -> None:
        self._says.put_nowait({"type": "http.disconnect"})

    async def answered(self) -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            await self.exchange
        return b"".join(message.get("body", b"") for message in self.sent)


class House:
    """An application that echoes, and waits."""

    def __init__(self) -> None:
        self.app = Quart("test")
        self.app.asgi_http_class = InlineConnection
        self.app.config["MAX_CONTENT_LENGTH"] = 4 * BODY_BYTES_MAX
        self.waits, self.cancelled, self.go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.asked = asyncio.Event()
        self.tasks = 0

        @self.app.post("/echo")
        async def echo() -> Response:
            self.tasks = len(asyncio.all_tasks())
            self.asked.set()
            return Response(await request.get_data())

        @self.app.get("/wait")
        async def wait() -> Response:
            self.waits.set()
            try:
                await self.go_on.wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
            return Response(b"at last")


@pytest_asyncio.fixture
async def house() -> AsyncIterator[House]:
    yield House()


async def test_a_request_that_is_there_at_once_needs_no_task_of_its_own(house: House) -> None:
    before = len(asyncio.all_tasks())
    client = Client(house.app, "POST", "/echo", 4)
    client.say(b"said")
    assert await client.answered() == b"said"
    assert house.tasks == before + 1, "the one that the server gave it"


async def test_a_body_in_pieces_is_whole(house: House) -> None:
    client = Client(house.app, "POST", "/echo", 8)
    client.say(b"said", more=True)
    client.say(b"more")
    assert await client.answered() == b"saidmore"


async def test_a_body_that_comes_slowly_is_waited_for(house: House) -> None:
    client = Client(house.app, "POST", "/echo", 8)
    client.say(b"said", more=True)
    await house.asked.wait()  # Its handler runs already.
    client.say(b"more")
    assert await client.answered() == b"saidmore"


@pytest.mark.parametrize("length", [BODY_BYTES_MAX + 1, None])
async def test_a_body_that_is_long_or_of_unknown_length_is_taken(house: House, length: int | None) -> None:
    client = Client(house.app, "POST", "/echo", length)
    body = b"x" * (BODY_BYTES_MAX + 1)
    client.say(body[:10], more=True)
    client.say(body[10:])
    assert await client.answered() == body


async def test_a_body_over_the_bound_is_refused_before_it_is_in(house: House) -> None:
    client = Client(house.app, "POST", "/echo", 5 * BODY_BYTES_MAX)
    client.say(b"x", more=True)
    await client.answered()
    assert client.sent[0]["status"] == 413


async def test_a_client_that_leaves_ends_what_it_waited_for(house: House) -> None:
    client = Client(house.app, "GET", "/wait")
    client.say(b"")
    await house.waits.wait()
    client.leave()
    assert await client.answered() == b""
    assert house.cancelled.is_set()


async def test_a_client_that_stays_is_answered_however_long_it_takes(house: House) -> None:
    client = Client(house.app, "GET", "/wait")
    client.say(b"")
    await house.waits.wait()
    asyncio.get_running_loop().call_later(0.2, house.go_on.set)  # Longer than it goes unwatched.
    assert await client.answered() == b"at last"
    assert not house.cancelled.is_set()


async def test_a_client_that_leaves_before_it_has_said_all_is_not_answered(house: House) -> None:
    client = Client(house.app, "POST", "/echo", 8)
    client.leave()
    assert await client.answered() == b""
    assert not house.tasks


async def test_a_cancelled_request_is_cancelled(house: House) -> None:
    client = Client(house.app, "GET", "/wait")
    client.say(b"")
    await house.waits.wait()
    client.exchange.cancel()
    with pytest.raises(asyncio.CancelledError):
        await client.exchange
    assert house.cancelled.is_set()
