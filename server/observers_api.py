"""`/v1/observers`: who watches, where they stand, and how far behind."""

from __future__ import annotations

from quart import Blueprint, Response
from quart_schema import document_querystring, document_response

from watchglass.protocol.errors import InvalidQuery, InvalidWorkerId, WorkerNotFound
from watchglass.protocol.observers import ObserversAnswer

from . import runtime_operations as operations
from .callers import the_caller
from .exchange import answer, query, refuses, the_runtime
from .observers import the_observers
from .queries import ObserversQuery

observers_api = Blueprint("observers", __name__, url_prefix="/v1/observers")


@observers_api.get("")
@document_querystring(ObserversQuery)
@document_response(ObserversAnswer)
@refuses(InvalidQuery, InvalidWorkerId, WorkerNotFound)
async def list_observers() -> Response:
    """List the open feeds, with how far each one is behind."""
    asked, only = query(ObserversQuery), the_caller().only_worker
    told = operations.list_observers(the_runtime(), the_observers(), asked, only=only)
    return answer(await told)
