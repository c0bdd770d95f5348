"""`/v1/observers`: who watches, where they stand, and how far behind."""

from __future__ import annotations

from quart import Blueprint, Response
from quart_schema import document_querystring, document_response

from watchglass.protocol.errors import InvalidQuery, InvalidWorkerId, WorkerNotFound
from watchglass.protocol.identity import parse_worker_id
from watchglass.protocol.observers import ObserversAnswer

from .callers import the_caller
from .exchange import Query, answer, query, refuses, the_runtime
from .observers import the_observers

observers_api = Blueprint("observers", __name__, url_prefix="/v1/observers")


class ObserversQuery(Query):
    """Whose observers; without it, all."""

    worker_id: str | None = None


@observers_api.get("")
@document_querystring(ObserversQuery)
@document_response(ObserversAnswer)
@refuses(InvalidQuery, InvalidWorkerId, WorkerNotFound)
async def list_observers() -> Response:
    """List the open feeds, with how far each one is behind."""
    asked = query(ObserversQuery).worker_id
    if asked is not None:
        only = the_caller().only_worker
        if only not in {None, parse_worker_id(asked)}:
            raise WorkerNotFound(asked)
        the_runtime().worker(asked)
    return answer(ObserversAnswer(observers=await the_observers().told(asked or the_caller().only_worker)))
