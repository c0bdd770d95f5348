"""A worker ends: it is asked to, its process does, or it cannot be trusted any more.

Nothing of a worker ends before its process tree is empty and its output is read
to the end: output, then `released`, `exit`, `status`, `end`, which are one append,
so that a crash leaves all of them or none.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from watchglass.protocol.errors import (
    LaunchFailed,
    RuntimeFault,
    StatePoisoned,
    StoreFault,
    UnsupportedCapability,
)
from watchglass.protocol.events import Event
from watchglass.protocol.lifecycle import Cue, Phase, Wanted, ending
from watchglass.protocol.workers import WorkerExit

from . import milestones
from .charge import Charge
from .executor import Process, ProcessExit
from .exit_reasons import alerts_of, reason_of, usage_of

_LOG = logging.getLogger(__name__)


async def stop(charge: Charge, cue: Cue, reason: str | None) -> None:
    """Ask the worker to leave (STOP) or abandon it (CANCEL).

    The end comes later: wait for `life.ended`. An ended worker stays as it is.
    """
    if not charge.worker.active:
        return
    life = charge.life
    if life.asked is not Cue.CANCEL:
        life.asked, life.reason = cue, reason
    told = milestones.kill_requested(charge.worker.record, cue, reason)
    if charge.process is None:
        await _end_without_process(charge, cue, told)
        return
    await _want_down(charge)
    before = life.phase
    life.take(cue)
    if cue is Cue.CANCEL:
        charge.process.kill()
    else:
        charge.process.stop()
    if before is not Phase.STOPPING:
        await charge.journal.tell(*told, charge.status())


async def end_with_process(charge: Charge, seen: ProcessExit) -> None:
    """Its process is over, and its output read."""
    held = charge.streams.finish()
    life = charge.life
    life.usage = usage_of(seen)
    clean = seen.cause is None and seen.code == 0
    cue = ending(life.asked, lost=seen.cause == "lost", clean=clean)
    reason = charge.refused or reason_of(life.asked, seen)
    ended = WorkerExit(code=seen.code, signal=seen.signal, reason=reason)
    timeout = milestones.timeout_triggered(charge.worker.record) if reason == "timeout" else []
    alerts = [charge.alert(text) for text in alerts_of(seen)]
    before = [*held, *await close_egress(charge), *alerts, *timeout]
    await _end(charge, cue, ended, before=before, ended_us=seen.ended_us)


async def end_unlaunched(charge: Charge, fault: LaunchFailed | UnsupportedCapability) -> None:
    """Its process could not be started."""
    facts = {"step": fault.step} if isinstance(fault, LaunchFailed) else {}
    error = Event("error", {"code": fault.code, "message": str(fault), **facts})
    ended = WorkerExit(code=None, signal=None, reason=fault.code)
    await _end(charge, Cue.LAUNCH_FAILED, ended, before=[error])


async def close_egress(charge: Charge) -> Sequence[Event]:
    """End its way out; the last that there is to tell of it."""
    return () if charge.egress is None else await charge.egress.close()


async def poison(charge: Charge, bug: Exception) -> None:
    """The state can't be trusted any more: kill the process, and tell its observers so.

    When it is the log itself that failed there is nobody who could be told.
    """
    _LOG.error("worker %s: the driver failed", charge.worker.worker_id, exc_info=bug)
    if charge.process is not None:
        charge.process.kill()
        await _wait_tree_empty(charge, charge.process)
    fault = bug if isinstance(bug, StoreFault) else StatePoisoned(charge.worker.worker_id)
    charge.life.phase = Phase.FAILED
    charge.life.exit = WorkerExit(code=None, signal=None, reason=fault.code)
    charge.life.finished_us = charge.context.now_us()
    charge.is_over = True
    try:
        await charge.journal.tell(
            Event("error", {"code": fault.code, "message": str(fault)}),
            *charge.last_words(charge.life.exit),
            durable=True,
        )
    except RuntimeFault as untold:
        _LOG.error("worker %s: its end is not in its journal: %s", charge.worker.worker_id, untold)
        await finish(charge)
    else:
        charge.wake()  # To finish, or to wait for room first.


async def finish(charge: Charge) -> None:
    """The log is complete, and durably so: nothing of the worker is left to be told.

    Who waits for the end need not wait for the record too, and the disk has
    nothing to do for it: the next start reads in the log what a record lacks.
    """
    worker = charge.worker
    await charge.context.on_ended(worker)
    worker.record = worker.record.ended(charge.life.end(worker.view.transcript_len, worker.log.head))
    charge.life.ended.set()
    try:
        await charge.context.save(worker.record, durable=False)
    except StoreFault as fault:
        _LOG.warning("the record of worker %s has no end: %s", worker.worker_id, fault)


async def _want_down(charge: Charge) -> None:
    """So that no restart beats a stop. A store that is full does not beat it either."""
    try:
        await charge.keep(wanted=Wanted.DOWN, asked=charge.life.asked, reason=charge.life.reason)
    except StoreFault as fault:
        _LOG.warning("a restart in this moment would not know of the stop: %s", fault)


async def _end_without_process(charge: Charge, cue: Cue, told: Sequence[Event]) -> None:
    charge.life.take(cue)  # One that waited has ended by this; a passive one is stopping.
    final = ending(cue, lost=False, clean=False) if charge.worker.active else None
    reason = "cancelled" if cue is Cue.CANCEL else "stopped"
    await _end(charge, final, WorkerExit(code=None, signal=None, reason=reason), before=told)


async def _end(
    charge: Charge,
    cue: Cue | None,
    ended: WorkerExit,
    before: Sequence[Event] = (),
    ended_us: int | None = None,
) -> None:
    """`ended_us` is when its program ended, which may have been long before we were there; None: now."""
    life = charge.life
    if cue is not None:
        life.take(cue)
    life.exit = ended
    life.finished_us = ended_us or charge.context.now_us()
    life.pid = life.supervisor_pid = None
    life.backlog_bytes = 0
    charge.is_over = True
    words = charge.last_words(ended)
    if await charge.journal.tell(*before, *words, durable=True):
        await finish(charge)
    else:
        charge.wake()


async def _wait_tree_empty(charge: Charge, process: Process) -> None:
    """Its room is still in use; whoever asks something meanwhile waits too."""
    while process.exit is None:
        await charge.woken.wait()
        charge.woken.clear()
    charge.wake()  # For what is in the mailbox.
