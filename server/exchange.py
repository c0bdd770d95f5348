"""One request read, one answer written: what all HTTP handlers share.

A handler parses, calls one method of the runtime and maps the result; what it
raises on purpose becomes an answer in `app`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from quart import Response, current_app, request

from watchglass.protocol.base import Wire
from watchglass.protocol.errors import InvalidQuery, InvalidRequest, RuntimeFault
from watchglass.protocol.parsing import decode
from watchglass.runtime import Runtime

from .queries import Query, checked_idempotency_key, checked_query

M = TypeVar("M", bound=Wire)
Q = TypeVar("Q", bound=Query)
F = TypeVar("F", bound=Callable[..., Any])

RUNTIME_KEY = "watchglass.runtime"
FAULTS_ATTRIBUTE = "_watchglass_faults"


def the_runtime() -> Runtime:
    """The runtime behind this application."""
    runtime = current_app.extensions[RUNTIME_KEY]
    assert isinstance(runtime, Runtime)
    return runtime


def refuses(*faults: type[RuntimeFault]) -> Callable[[F], F]:
    """Which faults an endpoint answers with, beside those that all have; the OpenAPI document shows them."""

    def mark(handler: F) -> F:
        setattr(handler, FAULTS_ATTRIBUTE, faults)
        return handler

    return mark


async def body(model: type[M]) -> M:
    """The request's body as a model. Raises InvalidJson, InvalidRequest; a body over the bound is a 413."""
    return decode(model, await request.get_data())


async def body_or_default(model: type[M]) -> M:
    """The same, where an empty body means the defaults."""
    content = await request.get_data()
    return decode(model, content) if content else model()


def query(model: type[Q]) -> Q:
    """The query parameters as a model. Raises InvalidQuery."""
    return checked_query(
        model, {name: _value(model, name) for name in model.model_fields if name in request.args}
    )


def idempotency_key() -> str | None:
    """The header of this name. Raises InvalidRequest."""
    return checked_idempotency_key(one_header("Idempotency-Key"))


def one_header(name: str) -> str | None:
    """The only header of this name, if there is one. Raises InvalidRequest: which of two would count?"""
    given = request.headers.getlist(name)
    if len(given) > 1:
        raise InvalidRequest(f"{name}: is given more than once")
    return given[0] if given else None


def answer(model: Wire, status: int = 200) -> Response:
    """A model as the answer; optional fields without a value are null."""
    return Response(
        model.model_dump_json(),
        status,
        headers={"cache-control": "no-store"},
        content_type="application/json",
    )


def answer_list(models: Sequence[Wire]) -> Response:
    """The same for an answer that is an array."""
    return Response(
        b"[%b]" % b",".join(model.model_dump_json().encode() for model in models),
        headers={"cache-control": "no-store"},
        content_type="application/json",
    )


def nothing() -> Response:
    """204: done, and there is nothing to say."""
    response = Response(b"", 204, headers={"cache-control": "no-store"})
    response.headers.pop("content-type")
    return response


def _value(model: type[Query], name: str) -> object:
    given = request.args.getlist(name)
    if model.model_fields[name].annotation == list[str]:
        return given
    if len(given) > 1:
        raise InvalidQuery(name, ", ".join(given), "is given more than once")
    return given[0]
