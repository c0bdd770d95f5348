"""`/openapi.json` and `/docs`: the interface, told by the code that serves it.

quart-schema collects models, parameters and summaries from the handlers; here
the document gets what it cannot know: the refusals (`exchange.refuses`, and
those that every endpoint has), which endpoints need the token, answers that are
not JSON, and the feed, which is no Quart route. `/docs` shows the same document
as one page that fetches nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any, cast

import orjson
from quart import Blueprint, Quart, Response, current_app
from quart_schema import HttpSecurityScheme, Info, QuartSchema, hide
from quart_schema.openapi import OpenAPIProvider
from werkzeug.routing import Rule

from watchglass import __version__
from watchglass.protocol.errors import (
    BodyTooLarge,
    CursorExpired,
    CursorMalformed,
    CursorUnknown,
    ForbiddenHost,
    ForbiddenOrigin,
    InsufficientScope,
    Internal,
    InvalidJson,
    InvalidQuery,
    InvalidRequest,
    InvalidWorkerId,
    ResourceLimitExceeded,
    RuntimeFault,
    StoreCorrupt,
    StoreIo,
    StoreMissing,
    Unauthorized,
    WorkerNotFound,
)
from watchglass.protocol.feed_v2 import EventsAnswer, Reset
from watchglass.protocol.runtime import DrainRequest
from watchglass.protocol.session import ROUTE as SESSION_ROUTE
from watchglass.protocol.session import SUBPROTOCOL
from watchglass.protocol.tasks import KillTaskRequest
from watchglass.protocol.workers import ImportAnswer, LifecycleRequest

from .archives_api import IMPORT_FAULTS, IMPORT_ROUTE, MEDIA_TYPE
from .auth import OPEN_PATHS
from .docs_page import page
from .docs_schema import complete
from .errors import STATUS, ErrorAnswer
from .events_path import ALL_EVENTS_ROUTE, ALL_FEED_ROUTE, EVENTS_ROUTE
from .exchange import FAULTS_ATTRIBUTE
from .feed import FEED_ROUTE
from .long_poll import EVENTS_MAX, WAIT_S_DEFAULT, WAIT_S_MAX
from .permits import NEEDS
from .tasks_errors import TaskErrorAnswer, code_of, is_ours

_SCHEME = "local_token"
_ALWAYS: tuple[type[RuntimeFault], ...] = (ForbiddenHost, ForbiddenOrigin, Internal)
_WITH_BODY: tuple[type[RuntimeFault], ...] = (InvalidJson, InvalidRequest, BodyTooLarge)
_ERROR_SCHEMA = {"$ref": "#/components/schemas/ErrorAnswer"}
_TASK_ERROR_SCHEMA = {"$ref": "#/components/schemas/TaskErrorAnswer"}
_MAY_BE_EMPTY = {LifecycleRequest.__name__, DrainRequest.__name__, KillTaskRequest.__name__}
_LOG_ROUTE = "/v1/workers/{worker_id}/logs/{stream}"
_OTHER_ANSWERS: dict[tuple[str, str], dict[str, str]] = {
    ("delete", "/v1/workers/{worker_id}"): {"204": "The worker is forgotten."},
    ("get", _LOG_ROUTE): {
        "200": "application/octet-stream: the bytes; Content-Range tells which",
        "206": "application/octet-stream: the bytes of the Range header",
    },
    ("get", "/v1/workers/{worker_id}/export"): {"200": f"{MEDIA_TYPE}: the worker, while it is read"},
    ("get", "/metrics"): {"200": "text/plain: Prometheus' text format"},
}
_CURSOR = {
    "name": "cursor",
    "in": "query",
    "schema": {"type": "string", "default": "earliest"},
    "description": "wo_ and 16 hex digits, earliest, latest, tail:<n> or time:<RFC 3339>",
}
_FEED_QUERY = [
    {
        "name": "types",
        "in": "query",
        "schema": {"type": "string"},
        "description": "names of events, comma separated; without it, all",
    },
    {
        "name": "on_expired",
        "in": "query",
        "schema": {"type": "string", "enum": ["close", "snapshot"], "default": "close"},
        "description": "what follows when the cursor cannot be honoured: an end, or a reset and a snapshot",
    },
    {
        "name": "snapshot",
        "in": "query",
        "schema": {"type": "string", "enum": ["auto", "none"], "default": "auto"},
    },
]
_WORKER_ID = {"name": "worker_id", "in": "path", "required": True, "schema": {"type": "string"}}
_FEED = {
    "summary": "Watch a worker (WebSocket).",
    "description": "Text frames of JSON: a snapshot, the events after the cursor, then live events. "
    "The feed is for observation only. With the subprotocol watchglass.feed.v2 it says more, and "
    "takes more to begin from.",
    "operationId": "get_feed",
    "parameters": [
        _WORKER_ID,
        {
            "name": "cursor",
            "in": "query",
            "schema": {"type": "string"},
            "description": "wo_ and 16 hex digits, earliest, or latest (the default); in version 2 also "
            "tail:<n> or time:<RFC 3339>, and earliest is the default",
        },
        *(
            {**each, "description": f"Version 2: {each.get('description', each['name'])}"}
            for each in _FEED_QUERY
        ),
    ],
    "responses": {"101": {"description": "The feed follows."}},
}
_SESSION = {
    "summary": "Command and watch many workers on one connection (WebSocket).",
    "description": f"The subprotocol {SUBPROTOCOL}: requests and their responses, subscriptions and "
    "their frames, as texts of JSON; docs/session.md has every method.",
    "operationId": "get_session",
    "parameters": [],
    "responses": {"101": {"description": "The session follows."}},
}
_EVENTS = {
    "summary": "Read a worker's events: one answer, or a stream.",
    "description": "A long poll: answered when an event follows the cursor, when the worker has ended, "
    "or after wait_s. With Accept: text/event-stream, server-sent events until the worker ends.",
    "operationId": "get_events",
    "parameters": [
        _WORKER_ID,
        _CURSOR,
        *_FEED_QUERY,
        {
            "name": "wait_s",
            "in": "query",
            "schema": {"type": "integer", "minimum": 0, "maximum": WAIT_S_MAX, "default": WAIT_S_DEFAULT},
            "description": "how long a long poll may wait for an event",
        },
        {
            "name": "limit",
            "in": "query",
            "schema": {"type": "integer", "minimum": 1, "maximum": EVENTS_MAX, "default": EVENTS_MAX},
            "description": "the most events of one answer",
        },
        {
            "name": "Last-Event-ID",
            "in": "header",
            "schema": {"type": "string"},
            "description": "a stream's cursor, as an EventSource sends it; it beats the query's",
        },
    ],
    "responses": {
        "200": {
            "description": "Events, and where to go on.",
            "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/EventsAnswer"}},
                "text/event-stream": {},
            },
        },
        "204": {"description": "A stream that was told everything already: the worker has ended."},
    },
}
_WORKERS = {
    "name": "workers",
    "in": "query",
    "schema": {"type": "string"},
    "description": "whose events, beside the runtime's own: * for everybody's, or ids, comma separated",
}
_ALL_EVENTS = {
    **_EVENTS,
    "summary": "Read the events of the runtime and of its workers: one answer, or a stream.",
    "description": "As the events of one worker, in the order of their sequences; they never end. "
    "With the WebSocket subprotocol watchglass.feed.v2, the feed.",
    "operationId": "get_all_events",
    "parameters": [_WORKERS, *cast("list[dict[str, Any]]", _EVENTS["parameters"])[1:]],
    "responses": {
        status: told
        for status, told in cast("dict[str, Any]", _EVENTS["responses"]).items()
        if status != "204"
    },
}
_ALL_FEED = {
    "summary": "Watch the runtime and its workers (WebSocket).",
    "description": "Version 2 of the feed, subprotocol watchglass.feed.v2: everybody's events in one order.",
    "operationId": "get_all_feed",
    "parameters": [_WORKERS, _CURSOR, *_FEED_QUERY],
    "responses": {"101": {"description": "The feed follows."}},
}
_IMPORT = {
    "summary": "Import a worker that was exported, as it was.",
    "description": "The body is what an export answered. Nothing of it is there before all of it is checked; "
    "what is refused keeps nothing.",
    "operationId": "post_import_worker",
    "parameters": [],
    "requestBody": {"required": True, "content": {MEDIA_TYPE: {}}},
    "responses": {
        "200": {
            "description": "The worker is there.",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ImportAnswer"}}},
        }
    },
}
_EVENTS_FAULTS = (
    InvalidWorkerId,
    InvalidQuery,
    CursorMalformed,
    WorkerNotFound,
    CursorUnknown,
    CursorExpired,
    ResourceLimitExceeded,
    StoreIo,
    StoreMissing,
    StoreCorrupt,
)
_FEED_FAULTS = (InvalidWorkerId, InvalidQuery, WorkerNotFound, ResourceLimitExceeded)

docs_api = Blueprint("docs", __name__)


@docs_api.get("/openapi.json")
@hide
async def openapi() -> Response:
    """This interface for machines."""
    return Response(orjson.dumps(_document()), content_type="application/json")


@docs_api.get("/docs")
@hide
async def docs() -> Response:
    """This interface for people."""
    response = Response(page(_document()), content_type="text/html; charset=utf-8")
    response.headers["content-security-policy"] = "default-src 'none'; style-src 'unsafe-inline'"
    response.headers["x-content-type-options"] = "nosniff"
    return response


def document(app: Quart) -> None:
    """Prepare an application for telling about itself; before its routes are added."""
    QuartSchema(
        app,
        openapi_path=None,
        info=Info(
            title="watchglass",
            version=__version__,
            description="Runs agent workers as supervised processes; every event is in a journal.",
        ),
        security_schemes={_SCHEME: HttpSecurityScheme(scheme="bearer")},
        openapi_provider_class=_Provider,
    )


class _Provider(OpenAPIProvider):
    """quart-schema's document, with our refusals in it."""

    def build_paths(self, rule: Rule) -> tuple[dict[str, Any], dict[str, Any]]:
        """See `OpenAPIProvider.build_paths`."""
        paths, components = super().build_paths(rule)
        handler = self._app.view_functions[rule.endpoint]
        for path, operations in paths.items():
            for method, operation in operations.items():
                _complete(method, path, operation, handler)
        return paths, components


def _document() -> dict[str, Any]:
    provider = cast("QuartSchema", current_app.extensions["QUART_SCHEMA"]).openapi_provider
    schema: dict[str, Any] = provider.schema()
    ours = {
        FEED_ROUTE: {"get": _told("get", FEED_ROUTE, _FEED, _FEED_FAULTS)},
        ALL_FEED_ROUTE: {"get": _told("get", ALL_FEED_ROUTE, _ALL_FEED, (InvalidRequest, *_FEED_FAULTS))},
        IMPORT_ROUTE: {"post": _told("post", IMPORT_ROUTE, _IMPORT, IMPORT_FAULTS)},
        EVENTS_ROUTE: {
            **schema["paths"][EVENTS_ROUTE],
            "get": _gone(_told("get", EVENTS_ROUTE, _EVENTS, _EVENTS_FAULTS)),
        },
        SESSION_ROUTE: {"get": _told("get", SESSION_ROUTE, _SESSION, (InvalidRequest,))},
        ALL_EVENTS_ROUTE: {"get": _gone(_told("get", ALL_EVENTS_ROUTE, _ALL_EVENTS, _EVENTS_FAULTS))},
    }
    schema["paths"] = dict(sorted({**schema["paths"], **ours}.items()))
    for model in (ErrorAnswer, TaskErrorAnswer, ImportAnswer, EventsAnswer, Reset):
        told = model.model_json_schema(ref_template="#/components/schemas/{model}", mode="serialization")
        schema["components"]["schemas"].update(told.pop("$defs", {}), **{model.__name__: told})
    return complete(schema)


def _told(
    method: str, path: str, operation: dict[str, Any], faults: tuple[type[RuntimeFault], ...]
) -> dict[str, Any]:
    """What is no Quart route, with its refusals."""
    told = {**operation, "responses": {**operation["responses"], **_refusals(faults, path)}}
    _secure(method, path, told)
    return told


def _gone(operation: dict[str, Any]) -> dict[str, Any]:
    """410 also has what a reset says."""
    schema = operation["responses"]["410"]["content"]["application/json"]["schema"]
    schema["allOf"] = [{"$ref": schema.pop("$ref")}, {"$ref": "#/components/schemas/Reset"}]
    return operation


def _complete(method: str, path: str, operation: dict[str, Any], handler: Callable[..., Any]) -> None:
    faults: tuple[type[RuntimeFault], ...] = getattr(handler, FAULTS_ATTRIBUTE, ())
    if "requestBody" in operation:
        operation["requestBody"]["required"] = not _may_be_empty(operation["requestBody"])
        faults = (*faults, *_WITH_BODY)
    for status, description in _OTHER_ANSWERS.get((method, path), {}).items():
        operation["responses"][status] = _plain(description)
    operation["responses"] = {
        **{str(status): told for status, told in operation["responses"].items()},
        **_refusals(faults, path),
    }
    _secure(method, path, operation)


def _may_be_empty(request_body: dict[str, Any]) -> bool:
    return bool(request_body["content"]["application/json"]["schema"]["title"] in _MAY_BE_EMPTY)


def _plain(description: str) -> dict[str, Any]:
    kind, colon, _ = description.partition(": ")
    return {"description": description, **({"content": {kind: {}}} if colon and "/" in kind else {})}


def _refusals(faults: tuple[type[RuntimeFault], ...], path: str) -> dict[str, Any]:
    """The answers of an endpoint that refuses with these."""
    by_status: defaultdict[int, list[str]] = defaultdict(list)
    for fault in faults:
        by_status[503 if path == "/readyz" else STATUS[fault]].append(_code(fault, path))
    for fault in _ALWAYS if path in OPEN_PATHS else (*_ALWAYS, InsufficientScope):
        by_status[STATUS[fault]].append(_code(fault, path))
    return {str(number): _refusal(sorted(set(codes)), path) for number, codes in sorted(by_status.items())}


def _refusal(codes: list[str], path: str) -> dict[str, Any]:
    schema = {**(_TASK_ERROR_SCHEMA if is_ours(path) else _ERROR_SCHEMA), "x-codes": codes}
    return {"description": ", ".join(codes), "content": {"application/json": {"schema": schema}}}


def _code(fault: type[RuntimeFault], path: str) -> str:
    """As the contract that the path belongs to calls it."""
    return code_of(fault) if is_ours(path) else fault.code


def _secure(method: str, path: str, operation: dict[str, Any]) -> None:
    if path in OPEN_PATHS:
        operation["security"] = []
        return
    operation["security"] = [{_SCHEME: []}]
    operation["x-scope"] = NEEDS[method.upper(), path].scope
    operation["responses"][str(STATUS[Unauthorized])] = _refusal([Unauthorized.code], path)
