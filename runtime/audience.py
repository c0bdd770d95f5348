"""All who stand at the head of one log, served together.

    append, append, … ─▶ one task wakes, reads once ─▶ everybody takes the same run

A reader that is behind goes at its own pace, by itself. At the head it takes a
seat: then what follows is read once, encoded once, and handed to every seat in
one step that never waits, so that a thousand observers cost one wake-up. Who
cannot take more stands up and goes on by itself, from where it stands.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from watchglass.protocol.cursor import Seq
from watchglass.store.base import ReadableLog, Run
from watchglass.store.run import first_after

Take = Callable[[Run], bool]
"""Takes a run without waiting; False: no more for now."""


class Seat:
    """One listener's place in an audience."""

    __slots__ = ("after", "left", "take")

    def __init__(self, after: Seq, take: Take, left: asyncio.Future[None]) -> None:
        self.after = after
        self.take = take
        self.left = left
        """Done when the listener takes no more, or with why nothing follows."""


class Audience:
    """The seats before one log."""

    def __init__(self, log: ReadableLog) -> None:
        self._log = log
        self._position = log.head
        self._seats: dict[Seat, None] = {}
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._seats)

    def sit(self, take: Take, *, after: Seq | None = None) -> Seat:
        """Hear what comes from now on, behind a position; None: the log's head. `leave` must follow."""
        loop = asyncio.get_running_loop()
        if self._task is None:
            self._position = self._log.head
            self._task = loop.create_task(self._serve(), name="audience")
            self._task.add_done_callback(self._on_done)
        seat = Seat(self._log.head if after is None else after, take, loop.create_future())
        self._seats[seat] = None
        return seat

    def leave(self, seat: Seat) -> Seq:
        """Stand up; the position of the last event that was taken."""
        self._seats.pop(seat, None)
        if seat.left.done() and not seat.left.cancelled():
            seat.left.exception()  # Seen: one that was called away did not wait for it.
        if not self._seats and self._task is not None:
            self._task.cancel()
            self._task = None
        return seat.after

    async def _serve(self) -> None:
        while True:
            await self._log.wait(after=self._position)
            run = await self._log.read(after=self._position)
            if run:
                self._hand_out(run)

    def _hand_out(self, run: Run) -> None:
        before, last = self._position, run.last
        self._position = last
        for seat in list(self._seats):
            if seat.after == before:
                theirs = run
            elif not (theirs := run[first_after(run.lines, seat.after) :]):
                continue
            try:
                goes_on = seat.take(theirs)
            except Exception as fault:  # noqa: BLE001 - its reader hears it, and no other suffers.
                self._stand_up(seat, fault)
                continue
            seat.after = last
            if not goes_on:
                self._stand_up(seat, None)

    def _stand_up(self, seat: Seat, fault: BaseException | None) -> None:
        self._seats.pop(seat, None)
        if seat.left.done():
            return
        if fault is None:
            seat.left.set_result(None)
        else:
            seat.left.set_exception(fault)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        """Nothing follows: everybody who sits is told why. Of a cancelled one nobody sits."""
        if task.cancelled():
            return
        fault = task.exception()
        assert fault is not None, "it ends by a reason alone"
        self._task = None
        for seat in list(self._seats):
            self._stand_up(seat, fault)


class Audiences:
    """One audience a log, as long as somebody sits in it."""

    def __init__(self) -> None:
        self._by_log: dict[ReadableLog, Audience] = {}

    def of(self, log: ReadableLog) -> Audience:
        """The audience of a log; made when there is none. `left` must follow."""
        return self._by_log.setdefault(log, Audience(log))

    def left(self, log: ReadableLog) -> None:
        """Somebody stood up: forget an audience where nobody sits."""
        if not len(self._by_log.get(log, ())):
            self._by_log.pop(log, None)
