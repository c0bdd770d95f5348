"""The whole server as one ASGI application.

    host, origin, token ──▶ feeds: straight on the socket
                       └──▶ HTTP: Quart, one small module a face

Feeds go past Quart, whose socket costs memory and a turn of the loop for each
message. Everything refused is JSON with a code, wherever it is
refused.
"""

from __future__ import annotations

import asyncio
import logging
import re
from contextlib import suppress
from http import HTTPStatus
from typing import cast
from urllib.parse import unquote

from quart import Quart, Response, request
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import MethodNotAllowed as NoSuchMethod

from watchglass.protocol.all_workers import parse_workers
from watchglass.protocol.base import BODY_BYTES_MAX, Wire
from watchglass.protocol.errors import (
    BodyTooLarge,
    InsufficientScope,
    Internal,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    RuntimeFault,
)
from watchglass.protocol.feed_v2 import SUBPROTOCOL
from watchglass.protocol.session import ROUTE as SESSION_ROUTE
from watchglass.runtime import Runtime

from .archives_api import IMPORT_ROUTE, archives_api, import_worker, is_import
from .asgi import (
    Headers,
    Message,
    Receive,
    Scope,
    Send,
    answer_http,
    header,
    query_parameters,
    refuse_websocket,
)
from .auth import Access
from .callers import caller_name, note_caller
from .capabilities_api import capabilities_api
from .config import FeedBounds
from .cors import is_preflight, origin_headers, preflight_headers
from .docs_api import docs_api, document
from .events_path import (
    ALL_EVENTS_ROUTE,
    ALL_FEED_ROUTE,
    EVENTS_ROUTE,
    asked_events_of,
    asks_for_all_events,
    asks_for_stream,
    is_events_path,
)
from .exchange import RUNTIME_KEY
from .feed import FEED_ROUTE, FeedsV1, feed_worker_id
from .feed_v2 import FeedsV2, asks_for_v2
from .health_api import METRICS_KEY, health_api
from .hypercorn_socket import NotUpgraded
from .inline import InlineConnection
from .leaving import Leaving
from .logs_api import logs_api
from .long_poll import LongPolls
from .metrics import UNKNOWN_ROUTE, Metrics
from .observers import OBSERVERS_KEY, Observers
from .observers_api import observers_api
from .open_feeds import OpenFeeds
from .permits import check_request
from .refusals import refusal
from .route import Route
from .runtime_api import LEAVING_KEY, runtime_api
from .session_socket import Sessions
from .sse import EventStreams
from .subjects import AllWorkers, OneWorker, Subject
from .task_runtime_api import task_runtime_api
from .tasks_api import tasks_api
from .workers_api import workers_api

LINGER_S = 2.0
"""How long a refused body may go on arriving: a client that is cut while it sends misses the answer."""
_ROUTE_KEY = "watchglass.route"
_ABSOLUTE = re.compile(r"\Ahttps?://[^/?#]*", re.IGNORECASE)
"""What stands before the path where a whole URL is asked for (RFC 9112, 3.2.2)."""
_PARAMETER = re.compile(r"<(?:[^<>]*:)?([^<>]+)>")
_LOG = logging.getLogger(__name__)


_FACES = (
    workers_api,
    logs_api,
    archives_api,
    runtime_api,
    capabilities_api,
    tasks_api,
    task_runtime_api,
    observers_api,
    health_api,
    docs_api,
)


class Application:
    """The ASGI application of one runtime. Made by `create_app`."""

    def __init__(self, runtime: Runtime, access: Access, leaving: Leaving, bounds: FeedBounds) -> None:
        self._access = access
        self._runtime = runtime
        self.feeds = OpenFeeds(access)
        self._metrics = Metrics(runtime, self.feeds)
        self._feeds_v1 = FeedsV1(runtime, self.feeds, close_s=bounds.close_s)
        self._feeds_v2 = FeedsV2(self._metrics, self.feeds, bounds)
        self._long_polls = LongPolls(self.feeds)
        self._event_streams = EventStreams(self._metrics, self.feeds, bounds)
        self.sessions = Sessions(runtime, leaving, self._metrics, self.feeds, access, bounds)
        self._http = _http_app(runtime, self._metrics, Observers(self.feeds), leaving)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._http(scope, receive, send)  # type: ignore[arg-type]  # Quart's own words for ASGI.
            return
        scope["path"] = _path(scope)
        exchange = _Exchange(scope, receive, send)
        try:
            await self._serve(scope, exchange, receive, send)
        except RuntimeFault as fault:
            await exchange.refuse(fault)
        except NotUpgraded:
            pass  # It was answered, or is gone.
        except Exception:  # noqa: BLE001 - our bug: the log has it whole, the caller a code.
            _LOG.exception("%s %s failed", scope.get("method", "WebSocket"), scope["path"])
            await exchange.refuse(Internal())
        finally:
            exchange.count(self._metrics)

    async def _serve(self, scope: Scope, exchange: _Exchange, receive: Receive, send: Send) -> None:
        self._access.check_caller(scope)
        exchange.origin = header(scope, b"origin")
        if is_preflight(scope):
            await exchange.answer(204, preflight_headers(), b"")
            return
        caller = self._access.caller(scope)
        note_caller(scope, caller)
        try:
            check_request(caller, scope)
        except InsufficientScope as fault:
            if scope["type"] != "websocket" or not asks_for_v2(scope):
                raise
            await self._feeds_v2.refuse(scope, receive, send, fault)
            return
        if asks_for_all_events(scope):
            await self._serve_all(scope, exchange, receive, send)
        elif scope["type"] == "http":
            await self._serve_http(scope, exchange)
        else:
            await self._serve_socket(scope, receive, send)

    async def _serve_http(self, scope: Scope, exchange: _Exchange) -> None:
        worker_id = asked_events_of(scope)
        if is_import(scope):
            scope[_ROUTE_KEY] = IMPORT_ROUTE
            await exchange.answer_model(await import_worker(self._runtime, scope, exchange.receive))
        elif worker_id is not None:
            scope[_ROUTE_KEY] = EVENTS_ROUTE
            await self._serve_events(scope, exchange, OneWorker(self._runtime, worker_id))
        elif _is_routable(scope["path"]):
            await self._http(scope, exchange.receive, exchange.send)  # type: ignore[arg-type]  # As above.
        else:
            raise NotFound(scope["path"])

    async def _serve_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == SESSION_ROUTE:
            scope[_ROUTE_KEY] = SESSION_ROUTE
            await self.sessions.serve(scope, receive, send)
            return
        worker_id = feed_worker_id(scope["path"])
        if worker_id is None:
            raise NotFound(scope["path"])
        scope[_ROUTE_KEY] = FEED_ROUTE
        if asks_for_v2(scope):
            await self._feeds_v2.serve(scope, receive, send, OneWorker(self._runtime, worker_id))
        else:
            await self._feeds_v1.serve(scope, receive, send, worker_id)

    async def _serve_all(self, scope: Scope, exchange: _Exchange, receive: Receive, send: Send) -> None:
        scope[_ROUTE_KEY] = ALL_EVENTS_ROUTE if scope["type"] == "http" else ALL_FEED_ROUTE
        subject = AllWorkers(self._runtime, parse_workers(query_parameters(scope)))
        if scope["type"] == "http":
            await self._serve_events(scope, exchange, subject)
        elif asks_for_v2(scope):
            await self._feeds_v2.serve(scope, receive, send, subject)
        else:
            raise InvalidRequest(f"offer the WebSocket subprotocol {SUBPROTOCOL}: this feed has no version 1")

    async def _serve_events(self, scope: Scope, exchange: _Exchange, subject: Subject) -> None:
        events = self._event_streams if asks_for_stream(scope) else self._long_polls
        await events.serve(scope, exchange.receive, exchange.send, subject)


def create_app(
    runtime: Runtime, access: Access, leaving: Leaving, bounds: FeedBounds | None = None
) -> Application:
    """The application that serves a runtime by these rules.

    `leaving` is told when a caller asks that the server drain; its owner does it.
    """
    return Application(runtime, access, leaving, bounds or FeedBounds())


class _Exchange:
    """One request, watched: whether its body is in, whether its answer is out."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._body_in = asyncio.Event()
        self._started_s = asyncio.get_running_loop().time()
        self.status: int | None = None
        self.origin: str | None = None
        """The page's origin, once it is known to be listed."""

    async def receive(self) -> Message:
        """As ASGI's."""
        message = await self._receive()
        if not message.get("more_body", False):
            self._body_in.set()
        return message

    async def send(self, message: Message) -> None:
        """As ASGI's; an answer to a body that is still arriving waits a little."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message["headers"], *self._origin_headers()]
            if not self._body_in.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(LINGER_S):
                        await self._body_in.wait()
        await self._send(message)

    async def refuse(self, fault: RuntimeFault) -> None:
        """Answer with an error, unless an answer is out already."""
        if self.status is not None:
            return
        status, named, content = refusal(fault, self._scope["path"])
        headers = [(name.encode(), value.encode()) for name, value in named.items()]
        if self._scope["type"] == "websocket":
            self.status = status
            await refuse_websocket(self._scope, self._send, status, headers, content)
            return
        headers.append((b"content-length", str(len(content)).encode()))
        await self.answer(status, headers, content)

    async def answer_model(self, model: Wire) -> None:
        """Answer with a model, without Quart."""
        content = model.model_dump_json().encode()
        size = str(len(content)).encode()
        headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
        await self.answer(200, [*headers, (b"content-length", size)], content)

    async def answer(self, status: int, headers: Headers, content: bytes) -> None:
        """Answer without Quart.

        What goes on arriving is thrown away meanwhile: the server could not close
        the connection while its own queue of it is full.
        """
        if self._body_in.is_set():
            await answer_http(self.send, status, headers, content)
            return
        arriving = asyncio.create_task(self._throw_away(), name="a refused body")
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(LINGER_S):
                    await self._body_in.wait()
            self._body_in.set()  # In or not, it was waited for.
            await answer_http(self.send, status, headers, content)
        finally:
            arriving.cancel()
            await asyncio.wait([arriving])

    async def _throw_away(self) -> None:
        while (await self.receive())["type"] == "http.request":
            pass

    def _origin_headers(self) -> Headers:
        return [] if self.origin is None else origin_headers(self.origin)

    def count(self, metrics: Metrics) -> None:
        """Tell the metrics and the log; an upgrade that went well is a feed and no request."""
        if self.status is not None:
            duration_s = asyncio.get_running_loop().time() - self._started_s
            route = self._scope.get(_ROUTE_KEY, UNKNOWN_ROUTE)
            method = self._scope.get("method", "GET")
            metrics.request_answered(method, route, self.status, duration_s)
            if _LOG.isEnabledFor(logging.INFO):
                told = {"method": method, "route": route, "status": self.status, "duration_s": duration_s}
                _LOG.info("answered", extra={**told, "token": caller_name(self._scope)})


def _path(scope: Scope) -> str:
    """The path to route by: an escaped slash stays escaped, so that an id cannot span two segments."""
    raw = scope.get("raw_path") or scope["path"].encode()
    text = _ABSOLUTE.sub("", raw.decode("latin1"), count=1) or "/"
    return unquote(text.replace("%2F", "%252F").replace("%2f", "%252f"))


def _is_routable(path: str) -> bool:
    """Whether Quart routes by the path as it is: it takes slashes away at the beginning, and adds one."""
    return path.startswith("/") and not path.startswith("//")


def _http_app(runtime: Runtime, metrics: Metrics, observers: Observers, leaving: Leaving) -> Quart:
    app = Quart(__name__, static_folder=None)
    app.asgi_http_class = InlineConnection
    app.url_rule_class = Route
    app.config["MAX_CONTENT_LENGTH"] = BODY_BYTES_MAX
    app.config["RESPONSE_TIMEOUT"] = None  # A peer that takes nothing is dropped by `connections`.
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.url_map.merge_slashes = False
    app.extensions[RUNTIME_KEY] = runtime
    app.extensions[METRICS_KEY] = metrics
    app.extensions[OBSERVERS_KEY] = observers
    app.extensions[LEAVING_KEY] = leaving
    app.before_request(_note_route)
    app.register_error_handler(RuntimeFault, _on_fault)
    app.register_error_handler(HTTPException, _on_http_exception)
    app.register_error_handler(Exception, _on_bug)
    document(app)
    for face in _FACES:
        app.register_blueprint(face)
    return app


async def _note_route() -> None:
    if request.url_rule is not None:
        cast("Scope", request.scope)[_ROUTE_KEY] = _PARAMETER.sub(r"{\1}", request.url_rule.rule)


async def _on_fault(fault: RuntimeFault) -> Response:
    status, headers, content = refusal(fault, request.path)
    return Response(content, status, headers=headers)


async def _on_http_exception(fault: HTTPException) -> Response:
    """What Quart itself refuses, in our words."""
    ours = _fault_of(fault)
    response = await _on_fault(ours)
    if isinstance(fault, NoSuchMethod) and fault.valid_methods:
        response.headers["allow"] = ", ".join(sorted({*fault.valid_methods, *_past_quart(request.path)}))
    return response


def _past_quart(path: str) -> set[str]:
    """The methods of a path that Quart does not know of."""
    if path == IMPORT_ROUTE:
        return {"POST"}
    return {"GET"} if is_events_path(path) else set()


async def _on_bug(fault: Exception) -> Response:
    _LOG.error("%s %s failed", request.method, request.path, exc_info=fault)
    return await _on_fault(Internal())


def _fault_of(fault: HTTPException) -> RuntimeFault:
    if fault.code == HTTPStatus.NOT_FOUND:
        return NotFound(request.path)
    if fault.code == HTTPStatus.METHOD_NOT_ALLOWED:
        return MethodNotAllowed(request.method, request.path)
    if fault.code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return BodyTooLarge(BODY_BYTES_MAX)
    if fault.code == HTTPStatus.REQUEST_TIMEOUT:
        return InvalidRequest("the body did not arrive in time")
    return InvalidRequest(fault.description or "the request cannot be understood")
