"""One connection for everything, for asyncio and trio: `conversation` with a socket.

    async with wg.session() as session:
        worker = await session.call(calls.worker("w"))
        async for event in session.follow("w", after=cursor): ...

Commands run beside each other, each answered when it is done. The connection
comes back by itself; a command whose answer was lost is repeated if that is
harmless, and raises `Unreachable` (stage `lost`) otherwise. When nothing has
answered for `patience_s`, whoever waits gets `Unreachable`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Final, TypeVar

from watchglass.protocol.follow import EARLIEST, LATEST, STEADY_S, Following, OnExpired, backoff_s
from watchglass.protocol.follow_all import EVERYBODY, FollowingAll, workers_of
from watchglass.protocol.said import Farewell, Said
from watchglass.protocol.session import ROUTE, SUBPROTOCOL
from watchglass.protocol.tasks import TaskStatusResponse

from . import task_calls
from .address import Address
from .call import ANSWER_BYTES_MAX, Call, api_error
from .conversation import Conversation, Subscription, refused
from .faults import BadAnswer, Unreachable
from .jitter import jitter
from .journey import FINAL_STATUS
from .sockets import FeedSocket, Loop, SocketLost, UpgradeRefused, next_frame
from .standing import AsyncReader, EventsAlone, Everything
from .task_places import TaskWait

A = TypeVar("A")
SUBPROTOCOLS: Final = (SUBPROTOCOL,)


class Session:
    """Commands and subscriptions of one runtime. Made by `AsyncClient.session`."""

    def __init__(self, where: Callable[[], Address], loop: Loop, *, patience_s: float) -> None:
        self._where = where
        self._loop = loop
        self._patience_s = patience_s
        self._conversation = Conversation()
        self._socket: FeedSocket | None = None
        self._url = where().url
        self.connections = 0
        """How many there have been."""

    async def call(self, call: Call[A]) -> A:
        """What is answered to a call of `watchglass.client.calls`.

        It may be cancelled; what it asked for may be done all the same, unless that was to wait.

        Raises:
            ApiError: It is refused, or a session has no method for it.
            Unreachable: The connection was lost before the answer, and it is not safe to repeat.
            BadAnswer: It is not what a runtime answers here.
        """
        done = self._loop.event()
        command = self._conversation.request(call, done.set)
        try:
            if self._socket is not None:
                command.sent = True
                await self._send(command.text)
            await done.wait()
        finally:
            unwanted = self._conversation.forget(command)
            if unwanted is not None and self._socket is not None:
                await self._send(unwanted)
        if command.fault is not None:
            raise command.fault
        assert command.answer is not None, "it is settled with one of both"
        return call.read(command.answer)

    async def wait_task(self, task_id: str, *, timeout_s: float | None = None) -> TaskStatusResponse:
        """The final status of a task. A wait that is cancelled is none any more for the runtime either.

        Raises:
            TimeoutError: It had not finished after `timeout_s`, says the first answer after that.
            ApiError, Unreachable, BadAnswer: See `call`.
        """
        wait = TaskWait(task_id, time.monotonic(), timeout_s)
        while True:
            said = await self.call(task_calls.task(task_id, wait_ms=wait.wait_ms(time.monotonic())))
            if wait.answered(time.monotonic(), said.status):
                return said

    def follow(self, worker_id: str, after: str = EARLIEST, *, types: Collection[str] = ()) -> SessionFollow:
        """The events of a worker after a cursor, each once, until it has ended; as `AsyncClient.follow`."""
        return SessionFollow(self, Following(worker_id, after, types=types))

    def watch(
        self,
        worker_id: str,
        after: str = LATEST,
        *,
        types: Collection[str] = (),
        on_expired: OnExpired = "close",
    ) -> SessionWatch:
        """The same with snapshots and, if `on_expired` is `snapshot`, resets."""
        return SessionWatch(self, Following(worker_id, after, types=types, on_expired=on_expired))

    def follow_all(
        self, workers: str | Iterable[str] = EVERYBODY, after: str = EARLIEST, *, types: Collection[str] = ()
    ) -> SessionFollow:
        """The events of many workers and the runtime's own, in one order; as `AsyncClient.follow_all`."""
        return SessionFollow(self, FollowingAll(workers_of(workers), after, types=types))

    def watch_all(
        self,
        workers: str | Iterable[str] = EVERYBODY,
        after: str = LATEST,
        *,
        types: Collection[str] = (),
        on_expired: OnExpired = "close",
    ) -> SessionWatch:
        """The same with snapshots and, if `on_expired` is `snapshot`, resets."""
        following = FollowingAll(workers_of(workers), after, types=types, on_expired=on_expired)
        return SessionWatch(self, following)

    async def sever(self) -> None:
        """Leave this connection without a word, as a broken network would; the next one follows."""
        if self._socket is not None:
            self._socket.abandon()

    # What runs behind it, and what its readers need.

    async def run(self) -> None:
        """Keep a connection until cancelled, or until none can be had; after that nobody waits for one."""
        try:
            await self._keep_connected()
        finally:
            if self._conversation.failed is None:
                self.close()

    async def _keep_connected(self) -> None:
        losses, answered_s = 0, time.monotonic()
        while True:
            began_s = time.monotonic()
            address = self._where()
            self._url = address.url
            reason = await self._connection_life(address)
            now_s = time.monotonic()
            if self._conversation.failed is not None:
                return
            if self._socket is not None:
                answered_s, self._socket = now_s, None
                losses = 0 if now_s - began_s >= STEADY_S else losses
            self._conversation.lost(address.url, reason)
            if now_s - answered_s >= self._patience_s:
                self._conversation.give_up(Unreachable(address.url, reason, "unsent"))
                return
            await self._loop.sleep(backoff_s(losses, jitter()))
            losses += 1

    async def subscribe(self, subscription: Subscription) -> None:
        """From where it stands; without a connection the next one does it."""
        self._conversation.join(subscription)
        if self._socket is not None:
            await self._send(self._conversation.follow(subscription))

    async def unsubscribe(self, subscription: Subscription) -> None:
        """Hear no more of it."""
        text = self._conversation.leave(subscription)
        if text is not None and self._socket is not None:
            await self._send(text)

    @property
    def loop(self) -> Loop:
        """Where it runs."""
        return self._loop

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection now."""
        return self._socket is not None

    def close(self) -> None:
        """Whoever still waits gets `Unreachable`."""
        self._conversation.give_up(Unreachable(self._url, "the session was left", "lost"))

    async def _connection_life(self, address: Address) -> str:
        """One connection, from its beginning to its end; why it is over."""
        try:
            socket = await self._loop.open(address, ROUTE, SUBPROTOCOLS, frame_bytes_max=ANSWER_BYTES_MAX)
        except UpgradeRefused as refusal:
            fault = api_error(refusal.answer)
            if refusal.answer.status in FINAL_STATUS:
                self._conversation.give_up(fault)
            return str(fault)
        except SocketLost as loss:
            return str(loss)
        except Unreachable as fault:  # For good.
            self._conversation.give_up(fault)
            return fault.reason
        self._socket = socket
        self.connections += 1
        try:
            for text in self._conversation.opened():
                await socket.send(text)
            while True:
                for text in self._conversation.take(await next_frame(socket)):
                    await socket.send(text)
        except (SocketLost, BadAnswer) as loss:
            return f"the connection was lost ({loss})"
        finally:
            socket.abandon()

    async def _send(self, text: str) -> None:
        """A text on this connection; of its loss everybody hears who waits."""
        assert self._socket is not None, "there is a connection"
        try:
            await self._socket.send(text)
        except SocketLost:
            return


class SessionReader(AsyncReader):
    """One subscription, over any number of connections; belongs to one task at a time.

    Iterating raises `FeedRefused`, `FeedViolation`, `ApiError` and `Unreachable`,
    as a reader with a socket of its own does.
    """

    def __init__(self, session: Session, following: Following) -> None:
        self._session = session
        self._following = following
        self._subscription = Subscription(following)
        self._taken: Iterator[Said | Farewell] = iter(())
        self._left = False
        self._begun = False

    async def aclose(self) -> None:
        """See `AsyncReader`."""
        if not self._left:
            self._left = True
            await self._session.unsubscribe(self._subscription)

    async def _next(self) -> Said:
        while not (self.ended or self._left):
            said = next(self._taken, None)
            if said is None:
                await self._advance()
            elif isinstance(said, Farewell):
                await self._again()
            else:
                return said
        await self.aclose()
        raise StopAsyncIteration

    async def _advance(self) -> None:
        """Take a frame, or subscribe, or wait for either."""
        subscription = self._subscription
        if subscription.frames:
            self._taken = self._following.take_body(subscription.frames.popleft())
        elif self.ended:
            return
        elif subscription.fault is not None:
            raise subscription.fault
        elif subscription.refusal is not None:
            fault = refused(subscription.refusal)
            if fault is not None:
                raise fault
            await self._again()
        elif not self._begun or (subscription.name is None and self._session.is_connected):
            self._begun = True
            await self._session.subscribe(subscription)
        else:
            heard = self._session.loop.event()
            subscription.wake = heard.set
            await heard.wait()

    async def _again(self) -> None:
        """Begin anew where it stands, after a while; what was told and not taken comes again."""
        self._taken = iter(())
        await self._session.unsubscribe(self._subscription)
        self._subscription.frames.clear()
        self._subscription.refusal = None
        self._begun = False
        await self._session.loop.sleep(self._following.lost(jitter=jitter()))


class SessionFollow(EventsAlone, SessionReader):
    """The events of a worker, each once, in order, until it has ended."""


class SessionWatch(Everything, SessionReader):
    """Everything that a feed says: `Joined`, `Told`, `Reset`."""
