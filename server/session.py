"""What one peer of a session asks and is told, without the socket (docs/session.md).

    take(text)   one frame of the peer, begun when the call returns; what cannot be
                 answered ends the session

A command that waits for nothing is answered in the same step; the others run
beside each other, at most `COMMANDS_MAX` of them, and `waits` beside those. `take` waits while there are
so many, or while the peer does not take what it is told: nobody reads its next
frame then, and TCP tells it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from functools import partial
from http import HTTPStatus
from time import perf_counter
from typing import Any, Final

import orjson
from pydantic_core import from_json

from watchglass.protocol.base import Wire
from watchglass.protocol.errors import (
    CursorExpired,
    CursorUnknown,
    Internal,
    InvalidJson,
    InvalidRequest,
    NotOnSession,
    RuntimeFault,
    RuntimeStopped,
    StoreFault,
    UnknownMethod,
)
from watchglass.protocol.session import (
    ABSENT,
    COMMANDS_MAX,
    ID_CHARS_MAX,
    ID_NUMBER_MAX,
    METHODS,
    Id,
    Json,
    is_wait,
    refusal,
    response,
)

from . import refusals
from .command_counts import UNKNOWN_METHOD, CommandCounts
from .commands import COMMANDS, STATUS_OF, Asked, Command, Desk, Large, Result
from .errors import RETRY_AFTER_S
from .events_path import EVENTS_ROUTE
from .feed_ends import gone_facts
from .outbox import Outbox
from .subscribing import query_of, subject_of
from .subscriptions import Subscriptions
from .waits import Waits

LARGE_AT_ONCE: Final = 4
"""So many answers that may be large are made at a time, for each connection."""
TURN_S: Final = 0.002
"""For so long commands may be answered before others have their turn: feeds, and other sessions."""
_NO_PARAMS: Final = '{"params":{}}'
_LOG = logging.getLogger(__name__)


class Unanswerable(Exception):
    """What came cannot be answered: it has no id, or is no frame at all."""


class Session:
    """One connection's commands and subscriptions."""

    def __init__(
        self, desk: Desk, outbox: Outbox, subscriptions: Subscriptions, counts: CommandCounts
    ) -> None:
        self._desk = desk
        self._outbox = outbox
        self._subscriptions = subscriptions
        self._counts = counts
        self._loop = asyncio.get_running_loop()
        self._under_way: dict[asyncio.Task[None], Coroutine[Any, Any, object] | None] = {}
        self._waits = Waits()
        self._has_place = asyncio.Event()
        self._turn_ends_s = 0.0
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)

    async def take(self, text: str | bytes) -> None:
        """One frame of the peer. Raises Unanswerable."""
        if perf_counter() >= self._turn_ends_s:
            await asyncio.sleep(0)  # Others have their turn.
            self._turn_ends_s = perf_counter() + TURN_S
        if not self._outbox.has_room:
            await self._outbox.wait_room()
        while len(self._under_way) - len(self._waits) >= COMMANDS_MAX:
            self._has_place.clear()
            await self._has_place.wait()
        frame, not_json = _parsed(text)
        kind = frame.get("kind")
        if kind == "request":
            self._request(text, frame, not_json)
        elif kind == "ping":
            self._pong()
        elif kind == "subscribe":
            self._subscribe(frame)
        elif kind == "unsubscribe":
            self._unsubscribe(frame)
        elif kind == "cancel":
            self._cancel(frame)
        else:
            raise Unanswerable("kind: use request, cancel, subscribe, unsubscribe or ping")

    async def wait_idle(self) -> None:
        """Return when no command is under way."""
        while self._under_way:
            await asyncio.wait(list(self._under_way))

    async def aclose(self) -> None:
        """Leave what is under way; a change that was begun is finished all the same."""
        for task in self._under_way:
            task.cancel()
        await self.wait_idle()
        await self._subscriptions.aclose()

    def _request(self, text: str | bytes, frame: Json, not_json: InvalidJson | None) -> None:
        name = _id(frame)
        id_json = orjson.dumps(name)
        method = frame.get("method")
        try:
            command = _command(method, not_json)
            params = _params(frame)
            asked = Asked(self._desk, text if "params" in frame else _NO_PARAMS, params)
            asked.check_permit(str(method))
            waits = is_wait(str(method), params)
            if waits:
                self._waits.check_room()
            outcome = command(asked)
        except Exception as fault:  # noqa: BLE001 - whatever it is, it is an answer.
            self._refuse(id_json, method, fault)
            return
        if isinstance(outcome, Large):
            task = self._start(self._finish_large(id_json, str(method), outcome), outcome.first)
            if waits:
                now = {**frame, "params": {**params, "wait_ms": None}}
                self._waits.add(task, name, partial(self._request, text, now, None))
        elif isinstance(outcome, Coroutine):
            self._start(self._finish(id_json, str(method), outcome), outcome)
        else:
            self._answer(id_json, str(method), outcome)

    def _cancel(self, frame: Json) -> None:
        id_json = orjson.dumps(_id(frame))
        try:
            self._waits.cancel(_id(frame, "request", InvalidRequest))
        except InvalidRequest as fault:
            self._refuse_frame("cancel", id_json, fault)
            return
        self._counts.add("cancel", HTTPStatus.OK)
        self._outbox.put(response(id_json, HTTPStatus.OK, b"null"))

    def _start(
        self, work: Coroutine[Any, Any, None], outcome: Coroutine[Any, Any, object] | None = None
    ) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._under_way[task] = outcome
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._waits.answered(task)
        outcome = self._under_way.pop(task)
        if outcome is not None:
            outcome.close()  # Of one that was called off before it began.
        self._has_place.set()

    async def _finish_large(self, id_json: bytes, method: str, outcome: Large) -> None:
        try:
            if outcome.first is not None:
                await outcome.first
        except Exception as fault:  # noqa: BLE001 - as above.
            self._waits.answered(asyncio.current_task())
            self._refuse(id_json, method, fault)
            return
        self._waits.answered(asyncio.current_task())
        async with self._large:
            if not self._outbox.has_room:
                await self._outbox.wait_room()
            await self._finish(id_json, method, outcome.make())

    async def _finish(self, id_json: bytes, method: str, outcome: Coroutine[Any, Any, Result]) -> None:
        try:
            result = await outcome
        except Exception as fault:  # noqa: BLE001 - as above.
            self._refuse(id_json, method, fault)
        else:
            self._answer(id_json, method, result)

    def _answer(self, id_json: bytes, method: str, result: Result) -> None:
        status = STATUS_OF.get(method, HTTPStatus.OK)
        self._counts.add(method, status)
        self._outbox.put(response(id_json, status, _encoded(result)))

    def _refuse(self, id_json: bytes, method: object, fault: Exception) -> None:
        if not isinstance(fault, RuntimeFault):
            _LOG.error("the command %s failed", method, exc_info=fault)
            fault = Internal()
        known = method if isinstance(method, str) and method in METHODS else None
        path = "" if known is None else METHODS[known].path
        status, headers, body = refusals.refusal(fault, path)
        if known == "runtime.ready" and isinstance(fault, RuntimeStopped | StoreFault):
            status = HTTPStatus.SERVICE_UNAVAILABLE  # As `/readyz` answers.
        self._put_refusal(known or UNKNOWN_METHOD, id_json, status, headers, body)

    def _pong(self) -> None:
        cursors = orjson.dumps(self._subscriptions.cursors())
        self._outbox.put(b'{"kind":"pong","cursors":%b}' % cursors)

    def _subscribe(self, frame: Json) -> None:
        name = _id(frame)
        id_json = orjson.dumps(name)
        joined = partial(self._subscribed, id_json)
        try:
            subject = subject_of(self._desk, frame)
            self._subscriptions.add(name, subject, query_of(frame), joined)
        except RuntimeFault as fault:
            joined(fault)

    def _subscribed(self, id_json: bytes, fault: RuntimeFault | None) -> None:
        if fault is not None:
            self._refuse_frame("subscribe", id_json, fault)
            return
        self._counts.add("subscribe", HTTPStatus.OK)
        self._outbox.put(response(id_json, HTTPStatus.OK, b'{"subscription":%b}' % id_json))

    def _unsubscribe(self, frame: Json) -> None:
        self._start(self._unsubscribed(_id(frame), frame))

    async def _unsubscribed(self, name: Id, frame: Json) -> None:
        id_json = orjson.dumps(name)
        try:
            cursor = await self._subscriptions.remove(_id(frame, "subscription", InvalidRequest))
        except RuntimeFault as fault:
            self._refuse_frame("unsubscribe", id_json, fault)
            return
        self._counts.add("unsubscribe", HTTPStatus.OK)
        self._outbox.put(response(id_json, HTTPStatus.OK, orjson.dumps({"cursor": cursor})))

    def _refuse_frame(self, kind: str, id_json: bytes, fault: RuntimeFault) -> None:
        """Of a frame that is no request; a lost cursor is told as the feed tells it."""
        status, headers, body = refusals.refusal(fault, EVENTS_ROUTE)
        if isinstance(fault, CursorUnknown | CursorExpired):
            body = orjson.dumps(gone_facts(fault))
        self._put_refusal(kind, id_json, status, headers, body)

    def _put_refusal(
        self, counted: str, id_json: bytes, status: int, headers: Mapping[str, str], body: bytes
    ) -> None:
        self._counts.add(counted, status)
        after_s = RETRY_AFTER_S if "retry-after" in headers else None
        self._outbox.put(refusal(id_json, status, body, after_s))


def _parsed(text: str | bytes) -> tuple[Json, InvalidJson | None]:
    """A frame, and why it is no JSON although it can be answered. Raises Unanswerable."""
    fault = None
    try:
        frame = orjson.loads(text)
    except orjson.JSONDecodeError as refused:
        fault = InvalidJson(f"the body is not JSON: {refused}")
        try:
            frame = from_json(text)  # It lets NaN and 1e999 in, as it does in the body of a REST request.
        except ValueError:
            raise Unanswerable(f"a frame is not JSON: {refused}") from None
    if not isinstance(frame, dict):
        raise Unanswerable("a frame is an object")
    return frame, fault


def _command(method: object, not_json: InvalidJson | None) -> Command:
    """Raises InvalidJson, InvalidRequest, NotOnSession, UnknownMethod."""
    if not_json is not None:
        raise not_json
    if not isinstance(method, str):
        raise InvalidRequest("method: input should be a valid string")
    command = COMMANDS.get(method)
    if command is None:
        raise NotOnSession(method, *ABSENT[method]) if method in ABSENT else UnknownMethod(method)
    return command


def _params(frame: Json) -> Json:
    """Raises InvalidRequest."""
    params = frame.get("params", {})
    if not isinstance(params, dict):
        raise InvalidRequest("params: input should be an object")
    return params


def _id(frame: Json, name: str = "id", fault: type[Exception] = Unanswerable) -> Id:
    """The id that an answer goes to. Raises `fault`."""
    value = frame.get(name)
    if isinstance(value, str) and len(value) <= ID_CHARS_MAX:
        return value
    if type(value) is int and abs(value) <= ID_NUMBER_MAX:
        return value
    raise fault(f"{name}: use a text of at most {ID_CHARS_MAX} characters, or a whole number below 2^53")


def _encoded(result: Result) -> bytes:
    if result is None:
        return b"null"
    if isinstance(result, Wire):
        return type(result).__pydantic_serializer__.to_json(result)
    return b"[%b]" % b",".join(map(_encoded, result))
