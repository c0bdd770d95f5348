"""The feeds of one session: feed version 2, many on one connection.

Each is a reader with a `Telling` of its own. All speak through one outbox, in
turns: who has something to say waits in line, says one batch, and goes to the
end of the line. What is said is taken from the log when its turn has come, so a
connection holds one batch, however many subscriptions wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Final

import orjson

from watchglass.protocol.errors import (
    InvalidRequest,
    ResourceLimitExceeded,
    RuntimeFault,
)
from watchglass.protocol.feed_v2 import CLOSES, Bookmark, Diagnostic, End, encode_control, events_text
from watchglass.protocol.session import (
    SUBPROTOCOL,
    SUBSCRIPTIONS_MAX,
    Id,
    of_subscription,
    subscription_tail,
)
from watchglass.protocol.start import FeedQuery
from watchglass.runtime import Reader

from .asgi import Scope
from .config import FeedBounds
from .feed_ends import diagnosed
from .metrics import Metrics, Transport
from .open_feeds import OpenFeed, OpenFeeds
from .outbox import Outbox
from .subjects import Subject
from .telling import Ended, ReadyFrames, Telling

Joined = Callable[[RuntimeFault | None], None]
"""Told once: the subscription is there, or why it is not."""


class Subscriptions:
    """Those that are open on one connection, by the ids that its peer gave them."""

    def __init__(
        self,
        metrics: Metrics,
        open_feeds: OpenFeeds,
        scope: Scope,
        bounds: FeedBounds,
        outbox: Outbox,
    ) -> None:
        self._metrics = metrics
        self._open_feeds = open_feeds
        self._scope = scope
        self._heartbeat_s = bounds.heartbeat_s
        self._outbox = outbox
        self._turn = asyncio.Lock()
        self._joining = asyncio.Lock()
        self._open: dict[Id, _Subscription] = {}

    def add(self, name: Id, subject: Subject, query: FeedQuery, joined: Joined) -> None:
        """Begin one; `joined` is told before its first frame, or why it was refused.

        Raises:
            InvalidRequest: One of this id is open.
            ResourceLimitExceeded: There are too many.
            WorkerNotFound.
        """
        if name in self._open:
            raise InvalidRequest(f"id: a subscription with the id {name!r} is open")
        if len(self._open) >= SUBSCRIPTIONS_MAX:
            raise ResourceLimitExceeded("subscriptions of a session", SUBSCRIPTIONS_MAX)
        subject.check()
        subscription = _Subscription(name, subject, self._outbox, joined)
        self._open[name] = subscription
        subscription.task = asyncio.create_task(self._live(subscription, query), name="subscription")
        subscription.task.add_done_callback(lambda _: self._forget(subscription))

    async def remove(self, name: Id) -> str | None:
        """End one; nothing of it follows. The cursor to go on from; None: it had not joined.

        Raises:
            InvalidRequest: None of this id is open.
        """
        subscription = self._open.get(name)
        if subscription is None:
            raise InvalidRequest(f"subscription: none with the id {name!r} is open")
        assert subscription.task is not None, "it is begun when it is added"
        subscription.task.cancel()
        await asyncio.wait([subscription.task])
        self._forget(subscription)
        subscription.joined(InvalidRequest("it was unsubscribed before it had joined"))
        return None if subscription.telling is None else subscription.telling.position

    def cursors(self) -> dict[str, str]:
        """Where those stand of whom it can be said just now, by id as a text."""
        return {
            str(name): each.telling.position
            for name, each in self._open.items()
            if each.telling is not None and each.telling.can_bookmark
        }

    async def wait_none_open(self) -> None:
        """Return when all have ended."""
        while tasks := [each.task for each in self._open.values() if each.task is not None]:
            await asyncio.wait(tasks)

    async def aclose(self) -> None:
        """End all, without a word."""
        for each in self._open.values():
            if each.task is not None:
                each.task.cancel()
        await self.wait_none_open()

    async def _live(self, subscription: _Subscription, query: FeedQuery) -> None:
        worker_id = subscription.subject.worker_id
        opened = self._open_feeds.opened(Transport.SESSION, self._scope, worker_id, subprotocol=SUBPROTOCOL)
        with opened as feed:
            subscription.feed = feed
            feed.heed_revocation(subscription.lose_right)
            if subscription.lost_right is not None:
                feed.reason = "refused"
                subscription.joined(subscription.lost_right)
                return
            last = await self._last_frame(subscription, query)
            feed.reason = "refused" if last is None else subscription.why(last)
            if last is not None:
                await subscription.say_goodbye(last)

    def _forget(self, subscription: _Subscription) -> None:
        """Its id is free, unless another one has it by now."""
        if self._open.get(subscription.name) is subscription:
            del self._open[subscription.name]

    async def _last_frame(self, subscription: _Subscription, query: FeedQuery) -> End | Diagnostic | None:
        """Tell until it is over; why it is (None: it was refused)."""
        subject = subscription.subject
        try:
            async with asyncio.timeout(None) as subscription.leash, AsyncExitStack() as stack:
                async with self._joining:  # One after the other, for each brings a snapshot.
                    try:
                        reader = await stack.enter_async_context(subject.observe(query))
                    except RuntimeFault as fault:
                        subscription.joined(fault)
                        return None
                    subscription.joined(None)
                    await self._greet(subscription, reader, query)
                assert subscription.telling is not None, "it has greeted"
                await subscription.telling.go_on()
        except Ended:
            assert subscription.telling is not None, "it has told all"
            return End(cursor=subscription.telling.position)
        except TimeoutError as cut:
            lost = subscription.lost_right
            if lost is not None and subscription.telling is None:
                subscription.joined(lost)
                return None
            return diagnosed(lost or cut, subject.name)
        except Exception as fault:  # noqa: BLE001 - whatever it is, the peer is told and the log has it.
            return diagnosed(fault, subject.name)

    async def _greet(self, subscription: _Subscription, reader: Reader, query: FeedQuery) -> None:
        telling = Telling(
            reader, query, subscription, self._heartbeat_s, self._metrics.feed_reset, turn=self._turn
        )
        subscription.telling = telling
        assert subscription.feed is not None, "it is open"
        subscription.feed.follow(lambda: telling.seq, lambda: reader.logs_behind(telling.seq), query.types)
        await telling.greet(await subscription.subject.hello(reader, query, self._heartbeat_s))


class _Subscription:
    """One of them: a `Voice`."""

    ready: Final[ReadyFrames | None] = None
    """Frames are not shared: each has its subscription's id."""

    def __init__(self, name: Id, subject: Subject, outbox: Outbox, joined: Joined) -> None:
        self.name = name
        self.subject = subject
        self._outbox = outbox
        self._joined: Joined | None = joined
        self._tail = subscription_tail(orjson.dumps(name), subject.worker_id)
        self._hello_tail = subscription_tail(orjson.dumps(name), None)  # It says whose it is by itself.
        self.task: asyncio.Task[None] | None = None
        self.telling: Telling | None = None
        self.feed: OpenFeed | None = None
        self.leash: asyncio.Timeout | None = None
        self.lost_right: RuntimeFault | None = None
        """Why its caller may not watch any more."""

    def lose_right(self, fault: RuntimeFault) -> None:
        """End it: the token was revoked, or is another now."""
        self.lost_right = self.lost_right or fault
        if self.leash is not None and not self.leash.expired():
            self.leash.reschedule(asyncio.get_running_loop().time())

    def joined(self, fault: RuntimeFault | None) -> None:
        """It is there, or it is refused; said once, whatever comes first."""
        tell, self._joined = self._joined, None
        if tell is not None:
            tell(fault)

    async def say(self, kind: str, text: bytes, cursor: str | None) -> None:  # noqa: ARG002 - it is in the text.
        """See `Voice`."""
        await self._room()
        self._put(of_subscription(text, self._hello_tail if kind == "hello" else self._tail))

    async def tell(self, prev: bytes, lines: Sequence[bytes], *, replay: bool) -> None:
        """See `Voice`."""
        await self._room()
        text = of_subscription(events_text(prev, lines, replay=replay), self._tail)
        assert self.feed is not None, "a feed is open"
        self.feed.count_batch(len(lines), len(text))
        self._outbox.put(text)

    async def say_goodbye(self, last: End | Diagnostic) -> None:
        """Where it stood, and why it is over."""
        telling = self.telling
        if telling is not None and telling.can_bookmark:
            await self.say("bookmark", encode_control(Bookmark(cursor=telling.position)), None)
        await self._room()
        text = encode_control(last)
        if isinstance(last, Diagnostic):
            text = text[:-1] + b',"close":%d}' % CLOSES[last.code]
        self._put(of_subscription(text, self._tail))

    @staticmethod
    def why(last: End | Diagnostic) -> str:
        """In the word of the metrics."""
        return "ended" if isinstance(last, End) else last.code

    async def _room(self) -> None:
        """Before anything is put: what was not put was not sent, whoever is cancelled."""
        if not self._outbox.has_room:
            await self._outbox.wait_room()

    def _put(self, text: bytes) -> None:
        assert self.feed is not None, "a feed is open"
        self.feed.count(1, len(text))
        self._outbox.put(text)
