"""The one task that owns a worker's state; everyone else asks it.

    callers ──ask──▶ mailbox ─┐
                              ├─▶ driver task ──▶ log (events) ──▶ observers
    process ──on_change──▶ wake┘        └──▶ process (input, signals)

Asks are served in order of arrival, then the process's output is taken, piece
by piece, so that neither starves the other. An ask is answered when what it
promises is in the log. How a worker starts, is taken over and ends is told in
`starting`, `taking_over` and `ending`.

`reserved` comes before the launch, `released` after the tree is empty; in every
journal they take turns. Whoever goes on with one knows from it whether there is
a `reserved` without its `released`, and says neither twice. The ledger itself
gives the room to the next when that append is written.

While the store takes no writes, what happened waits and no further output is
read: the files of the process hold it, and at last the process waits too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from watchglass.protocol.errors import InputBacklog, InvalidRequest, RuntimeFault, StatePoisoned
from watchglass.protocol.events import Event
from watchglass.protocol.lifecycle import Cue, Phase
from watchglass.protocol.workers import WorkerInput, WorkerInteractionAck, WorkerLifecycleAck
from watchglass.store.base import Record

from . import ending, life_events, milestones, starting, taking_over
from .charge import Charge
from .driver_context import DriverContext
from .executor import Process
from .mailbox import Ask, Mailbox
from .portion import Portion
from .worker import Worker

T = TypeVar("T")
RETRY_S = 0.5
"""Between two attempts to write what the store refused."""


class Driver:
    """Runs one worker from `accepted` to its end."""

    def __init__(self, worker: Worker, context: DriverContext) -> None:
        self._worker = worker
        self._life = worker.life
        self._context = context
        self._charge = Charge(worker, context)
        self._woken = self._charge.woken
        self._mailbox = Mailbox(self._woken)
        self._portion = Portion()
        self._has_left = worker.life.ended.is_set()

    # The callers' side.

    async def ask(self, act: Callable[[], Awaitable[T]]) -> T:
        """Have the driver run `act` in its turn; what it raises is raised here.

        The act runs to its end even when the caller is cancelled.
        """
        if self._has_left:
            return await act()  # The worker has ended; every act knows what that means to it.
        return await self._mailbox.put(act)

    async def begin(self) -> None:
        """Act: the first events of the journal. Raises StoreIo."""
        charge = self._charge
        events = [*milestones.opening(self._worker.record, charge.status())]
        data = b""
        first = self._worker.record.request.initial_input
        if first is not None:
            data = charge.streams.encode(first)
            events.append(life_events.accepted_input(first))
        if self._worker.passive:
            events.append(life_events.status(Phase.RUNNING))
        asked = await charge.journal.ask(*events, offsets=charge.streams.offsets_with(data))
        if asked.unsynced is not None:
            raise asked.unsynced
        if self._worker.passive:
            self.go_on_passive()
        if first is not None:
            charge.write(data)
            await self._context.announce_input(self._worker)

    async def launch(self) -> None:
        """Act: start the process; the ledger holds its room.

        Raises:
            LaunchFailed, UnsupportedCapability: It cannot be started; the worker has ended as `failed`.
        """
        if self._worker.active:  # Or it was stopped in the moment between its reservation and now.
            await starting.launch(self._charge)

    async def resume(self) -> None:
        """Act: go on with the journal of an earlier runtime (see `taking_over.resume`)."""
        await taking_over.resume(self._charge)

    def go_on_passive(self) -> None:
        """It is up from its creation on, whichever runtime keeps its journal."""
        self._life.take(Cue.RESERVED)
        self._life.take(Cue.LAUNCHED)
        self._life.started_us = self._worker.record.created_us

    async def await_launch(self) -> None:
        """Act: nothing of an earlier runtime's worker ran yet (see `taking_over.await_launch`)."""
        await taking_over.await_launch(self._charge)

    async def adopt(self, process: Process) -> None:
        """Act: take over a process that an earlier runtime launched (see `taking_over.adopt`)."""
        await taking_over.adopt(self._charge, process)

    async def take_input(self, said: WorkerInput) -> WorkerInteractionAck:
        """Act: journal an input and put it on its way.

        Raises:
            InvalidRequest: The worker has ended, or reads no more.
            InputBacklog: It would pass the bound; nothing was taken.
            StoreIo: Nothing was taken; or, when the text says so, its durability failed.
        """
        charge = self._charge
        self._check_takes_input()
        data = charge.streams.encode(said)
        self._check_backlog(len(data))
        asked = await charge.journal.ask(
            life_events.accepted_input(said),
            facts=charge.streams.speech.turn(),
            offsets=charge.streams.offsets_with(data),
        )
        charge.write(data)
        if asked.unsynced is not None:
            raise asked.unsynced
        ack = self._worker.interaction_ack(asked.records[-1])
        await self._context.announce_input(self._worker)
        return ack

    async def append_events(self, events: Sequence[Event]) -> Sequence[Record]:
        """Act: journal what a producer says of a passive worker. Raises InvalidRequest."""
        if not self._worker.passive:
            raise InvalidRequest(
                f"worker {self._worker.worker_id!r} has a process, which alone writes its events"
            )
        self._charge.check_active()
        asked = await self._charge.journal.ask(*events)
        if asked.unsynced is not None:
            raise asked.unsynced
        return asked.records

    async def stop(self, cue: Cue, reason: str | None) -> None:
        """Act: ask the worker to leave (STOP) or abandon it (CANCEL).

        The end comes later: wait for `life.ended`. An ended worker stays as it is.
        """
        await ending.stop(self._charge, cue, reason)

    async def signal(self, number: int) -> WorkerLifecycleAck:
        """Act: send a signal to the process group. Raises InvalidRequest."""
        self._charge.running_process().signal(number)
        return self._worker.lifecycle_ack()

    async def close_stdin(self) -> WorkerLifecycleAck:
        """Act: end the process's input after what was accepted. Raises InvalidRequest, StoreIo."""
        process = self._charge.running_process()
        await self._charge.keep(stdin_closed=True)
        process.close_stdin()
        return self._worker.lifecycle_ack()

    # The driver's side.

    async def run(self) -> None:
        """Serve until the worker has ended and nobody waits for an answer."""
        try:
            while self._mailbox or not self._life.ended.is_set():
                await self._woken.wait()
                self._woken.clear()
                await self._serve()
            self._has_left = True
        finally:
            await ending.close_egress(self._charge)

    def wake(self) -> None:
        """Something of the process may have changed."""
        self._woken.set()

    def leave(self) -> None:
        """An ended worker of an earlier runtime: there is nothing to drive."""
        self._has_left = True

    async def _serve(self) -> None:
        while self._mailbox:
            await self._answer(self._mailbox.take())
        if not self._life.ended.is_set():
            await self._guard(self._go_on())
        if self._worker.view.is_save_due:
            await self._context.save_view(self._worker)

    async def _go_on(self) -> None:
        charge = self._charge
        is_settled = await charge.journal.settle()
        self._life.outage = charge.journal.outage
        if not is_settled:
            if charge.process is not None and charge.process.exit is not None:
                self._life.pid = None  # How it ended waits for room; the number may be another's by now.
            asyncio.get_running_loop().call_later(RETRY_S, self.wake)
        elif charge.is_over:
            await ending.finish(charge)
        elif charge.process is not None:
            if charge.egress is not None and (told := charge.egress.take_events()):
                await charge.journal.tell(*told)
            await self._follow_process(charge.process)

    async def _answer(self, ask: Ask) -> None:
        try:
            result = await ask.act()
        except RuntimeFault as fault:
            ask.refuse(fault)
        except Exception as bug:  # noqa: BLE001 - one worker's bug must not take the others with it.
            ask.refuse(StatePoisoned(self._worker.worker_id))
            await ending.poison(self._charge, bug)
        else:
            ask.answer(result)

    async def _guard(self, step: Awaitable[None]) -> None:
        try:
            await step
        except Exception as bug:  # noqa: BLE001 - as above.
            await ending.poison(self._charge, bug)

    async def _follow_process(self, process: Process) -> None:
        charge = self._charge
        self._life.backlog_bytes = process.backlog_bytes
        exit_seen = process.exit  # Looked at first: output read after it is complete.
        chunks = process.read_output(self._portion.size_bytes)
        if chunks:
            events = charge.streams.feed(chunks)
            self._portion.became(len(events))
            if events:
                await charge.journal.tell(*events)
            self._woken.set()
            await asyncio.sleep(0)  # A chatty worker takes turns with everybody else.
        elif exit_seen is not None:
            await ending.end_with_process(charge, exit_seen)

    def _check_takes_input(self) -> None:
        charge = self._charge
        charge.check_active()
        if self._life.phase is Phase.STOPPING:
            raise InvalidRequest(f"worker {self._worker.worker_id!r} is stopping and takes no more input")
        if self._worker.record.stdin_closed or (charge.process is not None and charge.process.stdin_closed):
            raise InvalidRequest(f"worker {self._worker.worker_id!r} has no open input any more")

    def _check_backlog(self, size_bytes: int) -> None:
        process = self._charge.process
        backlog = self._life.backlog_bytes if process is None else process.backlog_bytes
        limit = self._context.options.input_backlog_max_bytes
        if backlog and backlog + size_bytes > limit:
            raise InputBacklog(self._worker.worker_id, backlog, limit)
