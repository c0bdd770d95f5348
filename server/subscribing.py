"""What a `subscribe` of a session asks for: whose events, and from where (docs/session.md)."""

from __future__ import annotations

from typing import Final, TypeGuard

from watchglass.protocol.all_workers import Chosen, chosen_of
from watchglass.protocol.errors import InvalidQuery, InvalidRequest
from watchglass.protocol.session import ABSENT, Json
from watchglass.protocol.start import FeedQuery, parse_feed_query

from .commands import Asked, Desk
from .subjects import AllWorkers, OneWorker, Subject

_WATCHING: Final = ABSENT["workers.watch"]
_WATCHING_ALL: Final = ABSENT["runtime.watch"]
_PARAMETERS: Final = ("cursor", "types", "on_expired", "snapshot")


def subject_of(desk: Desk, frame: Json) -> Subject:
    """One worker, or many, that the caller may watch.

    Raises:
        InvalidRequest, InvalidQuery, InvalidWorkerId: It does not say whose.
        WorkerNotFound, InsufficientScope, Unauthorized: The token gives no right to it.
    """
    if frame.get("workers") is None:
        if frame.get("worker_id") is None:
            raise InvalidRequest("worker_id: field required, or workers")
        worker_id = Asked(desk, "", frame).id("worker_id")
        _check(desk, worker_id)
        return OneWorker(desk.runtime, worker_id)
    if frame.get("worker_id") is not None:
        raise InvalidRequest("workers: say either this or worker_id")
    _check(desk, None)
    return AllWorkers(desk.runtime, _chosen(frame["workers"]))


def query_of(frame: Json) -> FeedQuery:
    """As the query of a feed; `types` may be a list. Raises InvalidQuery, CursorMalformed."""
    said: dict[str, list[str]] = {}
    for name in _PARAMETERS:
        value = frame.get(name)
        if name == "types" and _is_list_of_texts(value):
            value = ",".join(value)
        if value is not None and not isinstance(value, str):
            raise InvalidQuery(name, str(value), "use a text")
        if value is not None:
            said[name] = [value]
    return parse_feed_query(said)


def _check(desk: Desk, worker_id: str | None) -> None:
    fault = desk.fault_of(_WATCHING_ALL if worker_id is None else _WATCHING, worker_id)
    if fault is not None:
        raise fault


def _chosen(said: object) -> Chosen:
    """`*`, or ids in a list or with commas. Raises InvalidQuery, InvalidWorkerId."""
    if not isinstance(said, str) and not _is_list_of_texts(said):
        raise InvalidQuery("workers", str(said), "use * or a list of ids")
    return chosen_of(said)


def _is_list_of_texts(said: object) -> TypeGuard[list[str]]:
    return isinstance(said, list) and all(isinstance(each, str) for each in said)
