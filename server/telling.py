"""What a reader is told, in which order, whatever the transport (feed version 2; docs/feed.md).

    hello → [reset] → [snapshot] → replayed events → sync → live events, bookmarks … → Over

`Telling` decides what comes next and keeps the position; a `Voice` says it on
one transport. A bookmark may be asked for at any time: what is said holds the
turn, so its cursor is never ahead of what was sent, nor behind it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, NoReturn, Protocol

from watchglass.protocol.all_workers import AllHello
from watchglass.protocol.cursor import Seq, decode_cursor, encode_cursor
from watchglass.protocol.errors import CursorExpired
from watchglass.protocol.event_filter import EventFilter
from watchglass.protocol.feed_v2 import (
    Bookmark,
    Control,
    Hello,
    Reset,
    Sync,
    cursor_of,
    encode_control,
    events_text,
)
from watchglass.protocol.ready_frames import text_frame
from watchglass.protocol.start import FeedQuery
from watchglass.runtime import Reader
from watchglass.store.base import Run
from watchglass.store.run import first_after

EARLY: Final = 0.9
"""A bookmark comes this part of the heartbeat after the last frame, so that it is never late."""


class ReadyFrames(Protocol):
    """A way for frames that are ready: the same bytes for everybody who stands at the head."""

    def write(self, frame: bytes, events: int) -> bool:
        """A frame with so many events, now; False: `drain` before the next one."""

    async def drain(self) -> None:
        """Return when the observer has taken most of what was sent."""


class Voice(Protocol):
    """One transport's way to say things. Each may wait for room, but not for more."""

    @property
    def ready(self) -> ReadyFrames | None:
        """The way for ready frames, where there is one."""

    async def say(self, kind: str, text: bytes, cursor: str | None) -> None:
        """A frame that is no events; `cursor` is where the reader stands with it, if it says so."""

    async def tell(self, prev: bytes, lines: Sequence[bytes], *, replay: bool) -> None:
        """Some events. If it is cancelled, nobody knows whether they were sent."""


class Ended(Exception):
    """The worker has ended, and this reader was told all of it."""


class Telling:
    """One reader, one voice. `position` is the cursor of the last event that was passed, sent or not."""

    def __init__(
        self,
        reader: Reader,
        query: FeedQuery,
        voice: Voice,
        heartbeat_s: float,
        on_reset: Callable[[str], None],
        turn: asyncio.Lock | None = None,
    ) -> None:
        """`turn`: shared by readers that speak with one voice, who then speak in turns, a batch each."""
        self._reader = reader
        self._query = query
        self._voice = voice
        self._filter = None if query.types is None else EventFilter(query.types)
        self._bookmark_s = heartbeat_s * EARLY
        self._on_reset = on_reset
        self._turn = turn or asyncio.Lock()
        self._time = asyncio.get_running_loop().time
        self._said_s = self._time()
        self._synced = False
        self._position = encode_cursor(reader.position).encode()
        self._prev = self._position
        self._greeted = asyncio.Event()
        self._is_sending = False

    @property
    def position(self) -> str:
        """Where to resume from."""
        return self._position.decode()

    @property
    def seq(self) -> Seq:
        """The same as a sequence."""
        return decode_cursor(self.position)

    @property
    def can_bookmark(self) -> bool:
        """Whether the position is what was sent: not before the greeting, nor when a send was cut."""
        return self._greeted.is_set() and not self._is_sending

    async def tell_all(self, hello: Hello | AllHello) -> NoReturn:
        """Speak until it is over; never returns.

        Raises:
            Ended: The worker has.
            CursorExpired: Retention overtook a reader that did not ask for a snapshot then.
            LogClosed: The worker was removed, or the store is closing.
            StoreIo, StoreMissing, StoreCorrupt: The log cannot be read.
        """
        await self.greet(hello)
        await self.go_on()

    async def go_on(self) -> NoReturn:
        """What follows the greeting. As `tell_all`."""
        while True:
            try:
                await self._go_on()
            except CursorExpired as fault:
                if self._query.on_expired == "close":
                    raise
                await self._start_over(fault)

    async def bookmark(self) -> None:
        """Say where the reader stands; not before it is greeted."""
        await self._greeted.wait()
        async with self._turn:
            await self._say(Bookmark(cursor=self.position), self.position)

    async def greet(self, hello: Hello | AllHello) -> None:
        """Say where the reader stands; with it goes the snapshot, which may be large."""
        reader = self._reader
        snapshot, reader.snapshot = reader.snapshot, b""  # It may be large, and a feed may be long.
        async with self._turn:
            await self._say(hello, self.position)
            self._greeted.set()
            if reader.reset is not None:
                await self._say_reset(reader.reset)
            if snapshot and (self._query.snapshot == "auto" or reader.reset is not None):
                await self._voice.say("snapshot", snapshot, None)
            del snapshot
            await self._sync_if_due()

    async def _start_over(self, fault: CursorExpired) -> None:
        reset = await self._reader.start_over(fault)
        snapshot, self._reader.snapshot = self._reader.snapshot, b""
        async with self._turn:
            await self._say_reset(reset)
            await self._voice.say("snapshot", snapshot, None)
            del snapshot
            self._position = self._prev = encode_cursor(self._reader.position).encode()
            if self._synced:
                await self._say(Bookmark(cursor=self.position), self.position)
            await self._sync_if_due()

    async def _go_on(self) -> None:
        """Behind the head at the observer's own pace; there, wait for what comes."""
        reader = self._reader
        while True:
            left_s = self._said_s + self._bookmark_s - self._time()
            if left_s <= 0:
                await self.bookmark()
                continue
            if await self._pass_ready():
                await asyncio.sleep(0)  # Others have their turn.
            elif reader.is_complete:
                raise Ended
            elif not self._synced:
                async with self._turn:
                    await self._sync()  # What was up to `as_of` and did not come has left meanwhile.
            else:
                await self._await_next(left_s)

    async def _await_next(self, timeout_s: float) -> None:
        ready = self._voice.ready
        try:
            async with asyncio.timeout(timeout_s):
                if ready is None:
                    await self._reader.wait()
                    return
                await self._reader.listen(lambda run: self._take(ready, run))
        except TimeoutError:
            return
        await ready.drain()

    async def _pass_ready(self) -> bool:
        """What is there, taken when it can be said: whoever waits for a turn holds none of it."""
        async with self._turn:
            run = await self._reader.take_ready()
            if run:
                await self._pass_on(run)
        return bool(run)

    async def _pass_on(self, run: Run) -> None:
        """Events behind the head; a frame has either what is at or before `as_of`, or what follows."""
        if self._synced:
            await self._tell(run.lines, replay=False)
            return
        border = first_after(run.lines, self._reader.as_of)
        if border:
            await self._tell(run.lines[:border], replay=True)
        await self._sync_if_due()
        if border < len(run):
            await self._tell(run.lines[border:], replay=False)

    async def _tell(self, lines: Sequence[bytes], *, replay: bool) -> None:
        passing = lines if self._filter is None else self._filter.passing(lines)
        if not passing:
            self._position = cursor_of(lines[-1])
        elif (ready := self._voice.ready) is not None:
            frame = text_frame(events_text(self._prev, passing, replay=replay))
            room = ready.write(frame, len(passing))
            self._passed(lines, passing)
            if not room:
                await ready.drain()
        else:
            self._is_sending = True
            await self._voice.tell(self._prev, passing, replay=replay)
            self._is_sending = False
            self._passed(lines, passing)

    def _take(self, ready: ReadyFrames, run: Run) -> bool:
        """What comes at the head, handed to everybody in one step."""
        if self._filter is None:
            room = ready.write(run.events_frame(self._prev), len(run.lines))
            self._prev = self._position = run.cursor
            self._said_s = self._time()
        elif passing := self._filter.passing(run.lines):
            room = ready.write(text_frame(events_text(self._prev, passing, replay=False)), len(passing))
            self._passed(run.lines, passing)
        else:
            room = True
            self._position = cursor_of(run.lines[-1])
        return room and not self._reader.worker_is_complete

    def _passed(self, lines: Sequence[bytes], passing: Sequence[bytes]) -> None:
        self._prev = cursor_of(passing[-1])
        self._position = cursor_of(lines[-1])
        self._said_s = self._time()

    async def _sync_if_due(self) -> None:
        if self._synced or self._position < encode_cursor(self._reader.as_of).encode():
            return
        await self._sync()

    async def _sync(self) -> None:
        self._synced = True
        await self._say(Sync(cursor=self.position), self.position)

    async def _say_reset(self, reset: Reset) -> None:
        self._on_reset(reset.reason)
        await self._say(reset, None)

    async def _say(self, frame: Control | AllHello, cursor: str | None) -> None:
        self._said_s = self._time()
        await self._voice.say(frame.kind, encode_control(frame), cursor)
