"""The one task that owns a worker's state; everyone else asks it.

    callers ──ask──▶ mailbox ─┐
                              ├─▶ driver task ──▶ log (events) ──▶ observers
    process ──on_change──▶ wake┘        └──▶ process (input, signals)

Asks are served in order of arrival, then the process's output is taken, piece
by piece, so that neither starves the other. An ask is answered when what it
promises is in the log. Nothing of a worker ends before its process tree is
empty and its output is read to the end: output, then `released`, `exit`,
`status`, `end`, which are one append, so that a crash leaves all of them or none.

`reserved` comes before the launch, `released` after the tree is empty; in every
journal they take turns. Whoever goes on with one knows from it whether there is
a `reserved` without its `released`, and says neither twice. The ledger itself
gives the room to the next when that append is written.

While the store takes no writes, what happened waits and no further output is
read: the files of the process hold it, and at last the process waits too.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from watchglass.protocol.errors import (
    InputBacklog,
    InvalidRequest,
    LaunchFailed,
    RuntimeFault,
    StatePoisoned,
    StoreFault,
    UnsupportedCapability,
)
from watchglass.protocol.events import Event
from watchglass.protocol.execution import CapabilityMode, ExecutionPlan, Network, Reservation
from watchglass.protocol.lifecycle import Cue, Phase, Wanted, ending
from watchglass.protocol.workers import (
    WorkerExit,
    WorkerInput,
    WorkerInteractionAck,
    WorkerLifecycleAck,
)
from watchglass.store.base import Record, StreamOffsets
from watchglass.store.worker_record import WorkerEnd, WorkerRecord

from . import life_events, milestones
from .dispatcher import ONE_SLOT
from .egress import Resolver, WorkerEgress
from .executor import Executor, LaunchPlan, Process, ProcessExit
from .exit_reasons import limits_met, reason_of, usage_of
from .journal import Journal
from .life_events import last_words
from .policy import shortfalls
from .resending import accepted_input
from .speech import PlainStream, Resumed, new_speech
from .worker import Worker

T = TypeVar("T")
OUTPUT_BATCH_BYTES_MAX = 64 << 10
RETRY_S = 0.5
"""Between two attempts to write what the store refused."""

_LOG = logging.getLogger(__name__)


class DriverContext(Protocol):
    """What a driver needs of its runtime."""

    executor: Executor
    resolve: Resolver
    input_backlog_max_bytes: int

    def now_us(self) -> int:
        """The time, µs since 1970."""

    def directory(self, worker: Worker) -> Path:
        """The worker's own folder."""

    async def plan(self, worker: Worker) -> ExecutionPlan | None:
        """What its request comes to on this host now. Raises UnsupportedCapability."""

    def launch_plan(self, worker: Worker) -> LaunchPlan:
        """How to start the worker as it is planned. Raises LaunchFailed, OSError."""

    async def save(self, record: WorkerRecord) -> None:
        """Keep a newer version of the worker's record. Raises StoreIo, StoreMissing."""

    async def save_view(self, worker: Worker) -> None:
        """Keep what spares the worker's view a replay."""

    async def announce_input(self, worker: Worker) -> None:
        """Tell the runtime's own log of an accepted input."""

    async def on_ended(self, worker: Worker) -> None:
        """The worker's process tree is empty and its log is complete."""


@dataclass(slots=True)
class _Ask:
    act: Callable[[], Awaitable[object]]
    answer: asyncio.Future[object]


class Driver:
    """Runs one worker from `accepted` to its end."""

    def __init__(self, worker: Worker, context: DriverContext) -> None:
        self._worker = worker
        self._life = worker.life
        self._context = context
        self._mailbox: deque[_Ask] = deque()
        self._wake = asyncio.Event()
        self._process: Process | None = None
        self._egress: WorkerEgress | None = None
        self._journal = Journal(worker.log, self._offsets)
        self._speech = new_speech(worker.record.request.speech)
        self._stderr = PlainStream("stderr")
        self._accepted_bytes = 0
        self._unsent: list[bytes] = []  # Accepted before there is a process.
        self._refused: str | None = None  # Why we killed it ourselves.
        self._reservation_told: Reservation | None = None  # And its release not yet.
        self._is_over = False  # All of it has happened; at most it is not written yet.
        self._has_left = worker.life.ended.is_set()

    # The callers' side.

    async def ask(self, act: Callable[[], Awaitable[T]]) -> T:
        """Have the driver run `act` in its turn; what it raises is raised here.

        The act runs to its end even when the caller is cancelled.
        """
        if self._has_left:
            return await act()  # The worker has ended; every act knows what that means to it.
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._mailbox.append(_Ask(act, answer))  # type: ignore[arg-type]  # The pair shares its T.
        self._wake.set()
        return await asyncio.shield(answer)

    async def begin(self) -> None:
        """Act: the first events of the journal. Raises StoreIo."""
        events = [*milestones.opening(self._worker.record, self._status_event())]
        data = b""
        first = self._worker.record.request.initial_input
        if first is not None:
            data = b"" if self._worker.passive else self._speech.encode(first)
            events.append(life_events.accepted_input(first))
        if self._worker.passive:
            events.append(life_events.status(Phase.RUNNING))
        asked = await self._journal.ask(*events, offsets=self._offsets_with(data))
        if asked.unsynced is not None:
            raise asked.unsynced
        if self._worker.passive:
            self.go_on_passive()
        if first is not None:
            self._write(data)
            await self._context.announce_input(self._worker)

    async def launch(self) -> None:
        """Act: start the process; the ledger holds its room.

        What the host can do may have changed since the worker was planned: then it
        is planned again, and what /proc shows of its process must bear the plan out.

        Raises:
            LaunchFailed, UnsupportedCapability: It cannot be started; the worker has ended as `failed`.
        """
        if not self._worker.active:
            return  # Stopped in the moment between its reservation and now.
        self._life.take(Cue.RESERVED)
        await self._journal.tell(*self._reserved(), self._status_event())
        try:
            await self._plan_again()
            plan = self._context.launch_plan(self._worker)
            self._process = await self._context.executor.launch(plan, self.wake)
        except (LaunchFailed, UnsupportedCapability) as fault:
            await self._end_unlaunched(fault)
            raise
        except OSError as fault:
            failed = LaunchFailed("prepare", str(fault.filename), fault.errno or 0)
            await self._end_unlaunched(failed)
            raise failed from fault
        self._life.pid, self._life.supervisor_pid = self._process.pid, self._process.supervisor_pid
        await self._open_egress(self._process)
        if self._worker.record.stdin_closed:
            self._process.close_stdin()
        await self._now_running(self._process.started_at_us)
        await self._verify(plan, self._process)
        self._send_unsent()

    async def resume(self) -> None:
        """Act: go on with the journal of an earlier runtime, before there is a process or another adopted.

        Raises:
            StoreCorrupt, StoreMissing, StoreIo: The journal cannot be read.
        """
        offsets = self._worker.log.offsets
        self._accepted_bytes = offsets.stdin
        self._speech = new_speech(
            self._worker.record.request.speech,
            Resumed(
                spoken_bytes=offsets.stdout,
                open_text=(self._worker.view.in_flight() or {}).get("text", ""),
                mid_line=not _ends_line(self._context.directory(self._worker) / "stdout.log", offsets.stdout),
            ),
        )
        self._stderr = PlainStream("stderr", start=offsets.stderr)
        if self._worker.view.reserved_at is not None:
            self._reservation_told = self._worker.record.reservation or ONE_SLOT
        await self._journal.tell(*milestones.recovered(self._worker.record))

    def go_on_passive(self) -> None:
        """It is up from its creation on, whichever runtime keeps its journal."""
        self._life.take(Cue.RESERVED)
        self._life.take(Cue.LAUNCHED)
        self._life.started_us = self._worker.record.created_us

    async def await_launch(self) -> None:
        """Act: nothing ran yet; what was accepted is sent when something does. Raises as `resume`.

        A reservation that was told went with the runtime that made it.
        """
        if self._reservation_told is not None:
            await self._journal.tell(*self._released(), self._status_event())
        data = await accepted_input(self._worker.log, self._speech, after_bytes=0)
        self._unsent = (
            [data] if data else []
        )  # Anew: one whose creation was cut short has begun a moment ago.
        self._life.backlog_bytes = len(data)

    async def adopt(self, process: Process) -> None:
        """Act: take over a process that an earlier runtime launched; it may be over.

        Its status is said again. One that was asked to leave is asked again, and is never said to run.
        """
        record = self._worker.record
        self._process = process
        self._life.pid, self._life.supervisor_pid = process.pid, process.supervisor_pid
        self._life.started_us = process.started_at_us
        self._life.take(Cue.RESERVED)
        self._life.take(Cue.LAUNCHED)
        await self._open_egress(process)
        events = [self._status_event()] if record.asked is None else []
        if self._reservation_told is None and process.exit is None:
            events = [*self._reserved(), *events]
        if events:
            await self._journal.tell(*events)
        await self._resend(process)
        if record.stdin_closed:
            process.close_stdin()
        if record.asked is not None:
            await self.stop(record.asked, record.reason)
        self._wake.set()

    async def take_input(self, said: WorkerInput) -> WorkerInteractionAck:
        """Act: journal an input and put it on its way.

        Raises:
            InvalidRequest: The worker has ended, or reads no more.
            InputBacklog: It would pass the bound; nothing was taken.
            StoreIo: Nothing was taken; or, when the text says so, its durability failed.
        """
        self._check_takes_input()
        data = b"" if self._worker.passive else self._speech.encode(said)
        self._check_backlog(len(data))
        asked = await self._journal.ask(
            life_events.accepted_input(said), facts=self._speech.turn(), offsets=self._offsets_with(data)
        )
        self._write(data)
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
        self._check_active()
        asked = await self._journal.ask(*events)
        if asked.unsynced is not None:
            raise asked.unsynced
        return asked.records

    async def stop(self, cue: Cue, reason: str | None) -> None:
        """Act: ask the worker to leave (STOP) or abandon it (CANCEL).

        The end comes later: wait for `life.ended`. An ended worker stays as it is.
        """
        if not self._worker.active:
            return
        if self._life.asked is not Cue.CANCEL:
            self._life.asked, self._life.reason = cue, reason
        told = milestones.kill_requested(self._worker.record, cue, reason)
        if self._process is None:
            await self._end_without_process(cue, told)
            return
        await self._want_down()
        before = self._life.phase
        self._life.take(cue)
        if cue is Cue.CANCEL:
            self._process.kill()
        else:
            self._process.stop()
        if before is not Phase.STOPPING:
            await self._journal.tell(*told, self._status_event())

    async def signal(self, number: int) -> WorkerLifecycleAck:
        """Act: send a signal to the process group. Raises InvalidRequest."""
        self._running_process().signal(number)
        return self._worker.lifecycle_ack()

    async def close_stdin(self) -> WorkerLifecycleAck:
        """Act: end the process's input after what was accepted. Raises InvalidRequest, StoreIo."""
        process = self._running_process()
        await self._keep(stdin_closed=True)
        process.close_stdin()
        return self._worker.lifecycle_ack()

    # The driver's side.

    async def run(self) -> None:
        """Serve until the worker has ended and nobody waits for an answer."""
        try:
            while self._mailbox or not self._life.ended.is_set():
                await self._wake.wait()
                self._wake.clear()
                await self._serve()
            self._has_left = True
        finally:
            await self._close_egress()

    def wake(self) -> None:
        """Something of the process may have changed."""
        self._wake.set()

    def leave(self) -> None:
        """An ended worker of an earlier runtime: there is nothing to drive."""
        self._has_left = True

    async def _serve(self) -> None:
        while self._mailbox:
            ask = self._mailbox.popleft()
            await self._answer(ask)
        if not self._life.ended.is_set():
            await self._guard(self._go_on())
        if self._worker.view.is_save_due:
            await self._context.save_view(self._worker)

    async def _go_on(self) -> None:
        if not await self._journal.settle():
            asyncio.get_running_loop().call_later(RETRY_S, self.wake)
        elif self._is_over:
            await self._finish()
        elif self._process is not None:
            if self._egress is not None and (told := self._egress.take_events()):
                await self._journal.tell(*told)
            await self._follow_process(self._process)

    async def _answer(self, ask: _Ask) -> None:
        try:
            result = await ask.act()
        except RuntimeFault as fault:
            _settle(ask.answer, fault)
        except Exception as bug:  # noqa: BLE001 - one worker's bug must not take the others with it.
            _settle(ask.answer, StatePoisoned(self._worker.worker_id))
            await self._poison(bug)
        else:
            if not ask.answer.done():
                ask.answer.set_result(result)

    async def _guard(self, step: Awaitable[None]) -> None:
        try:
            await step
        except Exception as bug:  # noqa: BLE001 - as above.
            await self._poison(bug)

    async def _poison(self, bug: Exception) -> None:
        """The state can't be trusted any more: kill the process, and tell its observers so.

        When it is the log itself that failed there is nobody who could be told.
        """
        _LOG.error("worker %s: the driver failed", self._worker.worker_id, exc_info=bug)
        if self._process is not None:
            self._process.kill()
            await self._wait_tree_empty(self._process)
        fault = bug if isinstance(bug, StoreFault) else StatePoisoned(self._worker.worker_id)
        self._life.phase = Phase.FAILED
        self._life.exit = WorkerExit(code=None, signal=None, reason=fault.code)
        self._life.finished_us = self._context.now_us()
        self._is_over = True
        try:
            await self._journal.tell(
                Event("error", {"code": fault.code, "message": str(fault)}),
                *self._last_words(self._life.exit),
                durable=True,
            )
        except RuntimeFault as untold:
            _LOG.error("worker %s: its end is not in its journal: %s", self._worker.worker_id, untold)
            await self._finish()
        else:
            self._wake.set()  # To finish, or to wait for room first.

    async def _wait_tree_empty(self, process: Process) -> None:
        """Its room is still in use; whoever asks something meanwhile waits too."""
        while process.exit is None:
            await self._wake.wait()
            self._wake.clear()
        self._wake.set()  # For what is in the mailbox.

    async def _follow_process(self, process: Process) -> None:
        self._life.backlog_bytes = process.backlog_bytes
        exit_seen = process.exit  # Looked at first: output read after it is complete.
        chunks = process.read_output(OUTPUT_BATCH_BYTES_MAX)
        if chunks:
            events: list[Event] = []
            for chunk in chunks:
                machine = self._speech if chunk.stream == "stdout" else self._stderr
                events += machine.feed(chunk.offset, chunk.data)
            if events:
                await self._journal.tell(*events)
            self._wake.set()
            await asyncio.sleep(0)  # A chatty worker takes turns with everybody else.
        elif exit_seen is not None:
            await self._end_with_process(exit_seen)

    async def _plan_again(self) -> None:
        """Raises UnsupportedCapability: strict, and the host lost what the worker was planned with."""
        plan = await self._context.plan(self._worker)
        if plan is not None and plan != self._worker.record.plan:
            await self._keep(plan=plan)
            await self._journal.tell(milestones.plan_event(plan))

    async def _verify(self, launch: LaunchPlan, process: Process) -> None:
        """A plan that is not borne out is told, and in strict mode it is the worker's end."""
        plan = self._worker.record.plan
        if plan is None or process.verified is None:  # It had ended before anybody could look.
            return
        missing = list(shortfalls(plan, launch, process.verified))
        for each in missing:
            await self._journal.tell(
                self._alert(f"{each.feature} is planned and not in force: {each.reason}")
            )
        if missing and plan.capability_mode is CapabilityMode.STRICT:
            fault = UnsupportedCapability(*missing[0])
            self._refused = fault.code
            await self._journal.tell(Event("error", {"code": fault.code, "message": str(fault)}))
            process.kill()

    async def _open_egress(self, process: Process) -> None:
        """The worker's way out, if it has one: it is ours until its tree is empty."""
        sandbox = self._worker.record.request.sandbox
        listener = process.take_egress()
        if listener is not None:
            self._egress = WorkerEgress(
                listener, sandbox.network_allow, self._context.resolve, on_news=self.wake
            )
        elif sandbox.network is Network.PROXY and process.exit is None:
            await self._journal.tell(self._alert("it reaches nothing: there is no way into its network"))

    async def _close_egress(self) -> Sequence[Event]:
        """End it; the last that there is to tell of it."""
        return () if self._egress is None else await self._egress.close()

    async def _now_running(self, started_us: int) -> None:
        self._life.take(Cue.LAUNCHED)
        self._life.started_us = started_us
        await self._journal.tell(self._status_event())

    async def _resend(self, process: Process) -> None:
        """What was accepted and had not reached the supervisor when its server died."""
        unsent_bytes = self._accepted_bytes - process.received_input_bytes
        if process.exit is not None:
            if process.exit.cause != "lost" and unsent_bytes > 0:
                await self._tell_unread(unsent_bytes, "the process ended before it could be sent")
            return
        try:
            data = await accepted_input(
                self._worker.log, self._speech, after_bytes=process.received_input_bytes
            )
        except StoreFault as fault:
            await self._tell_unread(unsent_bytes, str(fault))
            return
        if len(data) < unsent_bytes:
            await self._tell_unread(unsent_bytes - len(data), "retention dropped it before it could be sent")
        process.write_input(data)

    async def _tell_unread(self, size_bytes: int, why: str) -> None:
        await self._journal.tell(self._alert(f"{size_bytes} bytes of accepted input were not read: {why}"))

    async def _want_down(self) -> None:
        """So that no restart beats a stop. A store that is full does not beat it either."""
        try:
            await self._keep(wanted=Wanted.DOWN, asked=self._life.asked, reason=self._life.reason)
        except StoreFault as fault:
            _LOG.warning("a restart in this moment would not know of the stop: %s", fault)

    async def _keep(self, **changed: object) -> None:
        record = self._worker.record.model_copy(update=changed)
        await self._context.save(record)
        self._worker.record = record

    async def _end_with_process(self, seen: ProcessExit) -> None:
        held = [*self._speech.finish(), *self._stderr.finish()]
        self._life.usage = usage_of(seen)
        clean = seen.cause is None and seen.code == 0
        cue = ending(self._life.asked, lost=seen.cause == "lost", clean=clean)
        reason = self._refused or reason_of(self._life.asked, seen)
        ended = WorkerExit(code=seen.code, signal=seen.signal, reason=reason)
        timeout = milestones.timeout_triggered(self._worker.record) if reason == "timeout" else []
        told = [*held, *await self._close_egress(), *self._alerts(seen), *timeout]
        await self._end(cue, ended, before=told)

    async def _end_without_process(self, cue: Cue, told: Sequence[Event]) -> None:
        self._life.take(cue)  # One that waited has ended by this; a passive one is stopping.
        final = ending(cue, lost=False, clean=False) if self._worker.active else None
        reason = "cancelled" if cue is Cue.CANCEL else "stopped"
        await self._end(final, WorkerExit(code=None, signal=None, reason=reason), before=told)

    async def _end_unlaunched(self, fault: LaunchFailed | UnsupportedCapability) -> None:
        facts = {"step": fault.step} if isinstance(fault, LaunchFailed) else {}
        error = Event("error", {"code": fault.code, "message": str(fault), **facts})
        ended = WorkerExit(code=None, signal=None, reason=fault.code)
        await self._end(Cue.LAUNCH_FAILED, ended, before=[error])

    async def _end(self, cue: Cue | None, ended: WorkerExit, before: Sequence[Event] = ()) -> None:
        if cue is not None:
            self._life.take(cue)
        self._life.exit = ended
        self._life.finished_us = self._context.now_us()
        self._life.pid = self._life.supervisor_pid = None
        self._life.backlog_bytes = 0
        self._is_over = True
        words = self._last_words(ended)
        if await self._journal.tell(*before, *words, durable=True):
            await self._finish()
        else:
            self._wake.set()

    async def _finish(self) -> None:
        """The log is complete, and durably so: nothing of the worker is left to be told.

        Who waits for the end need not wait for the record too: the next start
        reads in the log what a record lacks.
        """
        await self._context.on_ended(self._worker)
        self._worker.record = self._ended_record()
        self._life.ended.set()
        try:
            await self._context.save(self._worker.record)
        except StoreFault as fault:
            _LOG.warning("the record of worker %s has no end: %s", self._worker.worker_id, fault)

    def _ended_record(self) -> WorkerRecord:
        assert self._life.exit is not None
        assert self._life.finished_us is not None
        end = WorkerEnd(
            phase=self._life.phase,
            started_us=self._life.started_us,
            finished_us=self._life.finished_us,
            exit=self._life.exit,
            usage=self._life.usage,
            transcript_len=self._worker.view.transcript_len,
            head=self._worker.log.head,
        )
        return self._worker.record.ended(end)

    def _alerts(self, seen: ProcessExit) -> Sequence[Event]:
        """What an observer must know of limits, and of bytes that did not arrive where they were meant to."""
        told = list(limits_met(seen))
        for stream, sizes in (("stdout", seen.stdout), ("stderr", seen.stderr)):
            if sizes.is_truncated:
                told.append(
                    f"{stream} had {sizes.total_bytes} bytes, of which the first {sizes.kept_bytes} were kept"
                    + ("" if seen.output_errno is None else f": {os.strerror(seen.output_errno)}")
                )
        if seen.undelivered_input_bytes:
            told.append(
                f"{seen.undelivered_input_bytes} bytes of accepted input were not read by the process"
            )
        return [self._alert(text) for text in told]

    def _alert(self, message: str) -> Event:
        return life_events.alert(message, self._context.now_us())

    def _reserved(self) -> Sequence[Event]:
        assert self._life.reservation is not None, "it is launched by its reservation"
        self._reservation_told = self._life.reservation
        return [life_events.reserved(self._life.reservation)]

    def _released(self) -> Sequence[Event]:
        told, self._reservation_told = self._reservation_told, None
        return [] if told is None else [life_events.released(told)]

    def _last_words(self, ended: WorkerExit) -> Sequence[Event]:
        held, self._reservation_told = self._reservation_told, None
        return last_words(ended, self._life.phase, self._life.reason, held=held)

    def _status_event(self) -> Event:
        return life_events.status(self._life.phase)

    def _offsets(self) -> StreamOffsets | None:
        return self._offsets_with(b"")

    def _offsets_with(self, accepted: bytes) -> StreamOffsets | None:
        if self._worker.passive:
            return None
        return StreamOffsets(
            self._accepted_bytes + len(accepted), self._speech.spoken_bytes, self._stderr.spoken_bytes
        )

    def _write(self, data: bytes) -> None:
        self._accepted_bytes += len(data)
        if self._process is None:
            self._unsent.append(data)
            self._life.backlog_bytes += len(data)
        else:
            self._process.write_input(data)
            self._life.backlog_bytes = self._process.backlog_bytes

    def _send_unsent(self) -> None:
        assert self._process is not None
        for data in self._unsent:
            self._process.write_input(data)
        self._unsent.clear()

    def _check_active(self) -> None:
        if not self._worker.active:
            raise InvalidRequest(f"worker {self._worker.worker_id!r} has ended ({self._life.phase})")

    def _check_takes_input(self) -> None:
        self._check_active()
        if self._life.phase is Phase.STOPPING:
            raise InvalidRequest(f"worker {self._worker.worker_id!r} is stopping and takes no more input")
        if self._worker.record.stdin_closed or (self._process is not None and self._process.stdin_closed):
            raise InvalidRequest(f"worker {self._worker.worker_id!r} has no open input any more")

    def _check_backlog(self, size_bytes: int) -> None:
        backlog = self._life.backlog_bytes if self._process is None else self._process.backlog_bytes
        limit = self._context.input_backlog_max_bytes
        if backlog and backlog + size_bytes > limit:
            raise InputBacklog(self._worker.worker_id, backlog, limit)

    def _running_process(self) -> Process:
        self._check_active()
        if self._process is None:
            raise InvalidRequest(f"worker {self._worker.worker_id!r} has no process")
        return self._process


def _ends_line(path: Path, end: int) -> bool:
    """Whether the first `end` bytes of a file end with a newline, or there are none. Raises OSError."""
    if end == 0:
        return True
    with path.open("rb") as file:
        file.seek(end - 1)
        return file.read(1) == b"\n"


def _settle(answer: asyncio.Future[object], fault: RuntimeFault) -> None:
    if not answer.done():
        answer.set_exception(fault)
        answer.exception()  # Seen: the caller may have been cancelled.
