"""One session over any number of connections, without the socket (docs/session.md).

Pure: frames and losses in, texts out. Whoever drives it owns the socket and the
clock, and sends each text at once.

    request(…)   a command and its text        opened()   what to say on a new connection
    follow(…)    a subscription and its text   lost(…)    nobody knows what became of the rest
    take(frame)  fills what waits

A command whose answer was lost is said again if doing it twice is doing it
once, and otherwise fails: it may have been carried out. A subscription goes on
from the last event that its reader took. One that is read more slowly than it
is told is given up after a few frames and taken up again when they are read, so
that a slow reader holds up nobody.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from watchglass.protocol.follow import SUBPROTOCOL_V2, Following
from watchglass.protocol.said import FeedRefused
from watchglass.protocol.session import is_wait

from .call import Answer, Call, api_error
from .faults import BadAnswer, ClientFault, Unreachable
from .journey import FINAL_STATUS
from .spoken import answer_of, answered, spoken

Json = dict[str, Any]
QUEUE_FRAMES_MAX: Final = 64
"""Frames of one subscription that may wait for its reader."""


@dataclass(slots=True, eq=False)
class Command:
    """One command. `wake` is called when it has an answer or a fault."""

    number: int
    text: str
    repeatable: bool
    waits: bool
    wake: Callable[[], object]
    sent: bool = False
    answer: Answer | None = None
    fault: ClientFault | None = None


@dataclass(slots=True, eq=False)
class Subscription:
    """One reader's place. `wake` is called when there is something to look at."""

    following: Following
    wake: Callable[[], object] = lambda: None
    name: str | None = None
    """What it is called on this connection; None: it is not subscribed."""
    frames: deque[Json] = field(default_factory=deque)
    refusal: Answer | None = None
    fault: Exception | None = None


class Conversation:
    """What one client wants of one runtime."""

    def __init__(self) -> None:
        self._commands: dict[int, Command] = {}
        self._named: dict[str, Subscription] = {}
        self._subscriptions: set[Subscription] = set()
        self._number = 0
        self.failed: Exception | None = None
        """Why nothing can be asked any more."""

    def request(self, call: Call[Any], wake: Callable[[], object]) -> Command:
        """A command, to be sent as `text`. Raises ApiError: a session has no such method."""
        if self.failed is not None:
            raise self.failed
        method, params = spoken(call)
        self._number += 1
        said = {"kind": "request", "id": self._number, "method": method, "params": params}
        text = orjson.dumps(said).decode()
        command = Command(self._number, text, call.repeatable, is_wait(method, params), wake)
        self._commands[command.number] = command
        return command

    def forget(self, command: Command) -> str | None:
        """Nobody waits for it any more; what to send, so that the runtime does not either."""
        is_open = self._commands.pop(command.number, None) is not None
        if not (is_open and command.waits and command.sent):
            return None
        name = f"c{command.number}"
        return orjson.dumps({"kind": "cancel", "id": name, "request": command.number}).decode()

    def join(self, subscription: Subscription) -> None:
        """It is told of every connection from now on. Raises why nothing can be asked any more."""
        if self.failed is not None:
            raise self.failed
        self._subscriptions.add(subscription)

    def follow(self, subscription: Subscription) -> str:
        """Subscribe from where it stands; what to send."""
        self._number += 1
        name = f"s{self._number}"
        subscription.name, subscription.refusal = name, None
        subscription.frames.clear()
        subscription.following.opened(SUBPROTOCOL_V2)
        self._named[name] = subscription
        following = subscription.following
        said = {"kind": "subscribe", "id": name} | following.query() | following.whose()
        return orjson.dumps(said).decode()

    def leave(self, subscription: Subscription) -> str | None:
        """Hear no more of it; what to send."""
        self._subscriptions.discard(subscription)
        return self._unsubscribe(subscription)

    def opened(self) -> list[str]:
        """A new connection is there: what to send, in this order."""
        due = [command for command in self._commands.values() if not command.sent]
        for command in due:
            command.sent = True
        for subscription in self._subscriptions:
            subscription.wake()  # Its reader subscribes, from behind what it took.
        return [command.text for command in due]

    def lost(self, url: str, reason: str) -> None:
        """The connection is gone."""
        self._named.clear()
        for subscription in self._subscriptions:
            subscription.name = None
            subscription.frames.clear()
        for command in list(self._commands.values()):
            if command.sent and not command.repeatable:
                self._settle(
                    command, fault=Unreachable(url, f"{reason}; it may have been carried out", "lost")
                )
            command.sent = False

    def give_up(self, fault: ClientFault) -> None:
        """No connection will come any more."""
        self.failed = fault
        for command in list(self._commands.values()):
            self._settle(command, fault=fault)
        for subscription in self._subscriptions:
            subscription.fault = fault
            subscription.wake()

    def take(self, frame: str | bytes) -> list[str]:
        """What the runtime says; what to send to that. Raises BadAnswer."""
        text = frame.encode() if isinstance(frame, str) else frame
        quick = answered(text)
        if quick is not None:
            self._answer(*quick)
            return []
        try:
            said = orjson.loads(text)
            if said["kind"] == "response":
                return self._respond(said)
            return self._tell(said)
        except (orjson.JSONDecodeError, KeyError, TypeError) as fault:
            raise BadAnswer("a frame of the session is not what a runtime says") from fault

    def _respond(self, said: Json) -> list[str]:
        name = said["id"]
        if isinstance(name, int):
            self._answer(name, answer_of(said))
        elif name in self._named and "error" in said:
            subscription = self._named.pop(name)
            subscription.name, subscription.refusal = None, answer_of(said)
            subscription.wake()
        return []

    def _tell(self, said: Json) -> list[str]:
        subscription = self._named.get(said.get("subscription", ""))
        if subscription is None:
            return []
        subscription.frames.append(said)
        subscription.wake()
        if said["kind"] in {"end", "diagnostic"}:
            self._forget_name(subscription)
        elif len(subscription.frames) > QUEUE_FRAMES_MAX:
            text = self._unsubscribe(subscription)
            return [] if text is None else [text]
        return []

    def _unsubscribe(self, subscription: Subscription) -> str | None:
        name = subscription.name
        if name is None:
            return None
        self._forget_name(subscription)
        return orjson.dumps({"kind": "unsubscribe", "id": f"u{name}", "subscription": name}).decode()

    def _forget_name(self, subscription: Subscription) -> None:
        assert subscription.name is not None, "it is subscribed"
        del self._named[subscription.name]
        subscription.name = None

    def _answer(self, number: int, answer: Answer) -> None:
        command = self._commands.get(number)
        if command is not None:
            command.answer = answer
            self._settle(command)

    def _settle(self, command: Command, fault: ClientFault | None = None) -> None:
        self.forget(command)
        command.fault = fault
        command.wake()


def refused(answer: Answer) -> Exception | None:
    """Why a subscription cannot be, as a feed of its own would say it; None: it may be later."""
    fault = api_error(answer)
    if fault.code.startswith("cursor_"):
        return FeedRefused(f"runtime.{fault.code}", fault.message, fault.details)
    return fault if answer.status in FINAL_STATUS else None
