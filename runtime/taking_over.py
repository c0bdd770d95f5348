"""A worker of an earlier runtime is taken over: its journal, and what of it runs or waits.

resume ─▶ adopt, when there is a process (it may be over)
      └─▶ await_launch, when there never was one
"""

from __future__ import annotations

from watchglass.protocol.errors import StoreFault
from watchglass.protocol.lifecycle import Cue

from . import milestones
from .charge import Charge
from .dispatcher import ONE_SLOT
from .ending import stop
from .executor import Process
from .resending import accepted_input
from .starting import open_egress


async def resume(charge: Charge) -> None:
    """Go on with the journal of an earlier runtime, before there is a process or another adopted.

    Raises:
        StoreCorrupt, StoreMissing, StoreIo: The journal cannot be read.
    """
    worker = charge.worker
    charge.streams.resume(
        worker.log.offsets,
        open_text=(worker.view.in_flight() or {}).get("text", ""),
        stdout=charge.context.directory(worker) / "stdout.log",
    )
    if worker.view.reserved_at is not None:
        charge.has_told(worker.record.reservation or ONE_SLOT)
    await charge.journal.tell(*milestones.recovered(worker.record))


async def await_launch(charge: Charge) -> None:
    """Nothing ran yet; what was accepted is sent when something does. Raises as `resume`.

    A reservation that was told went with the runtime that made it.
    """
    if charge.tells_of_a_reservation:
        await charge.journal.tell(*charge.released(), charge.status())
    charge.hold_back(await accepted_input(charge.worker.log, charge.streams.speech, after_bytes=0))


async def adopt(charge: Charge, process: Process) -> None:
    """Take over a process that an earlier runtime launched; it may be over.

    Its status is said again. One that was asked to leave is asked again, and is never said to run.
    """
    record = charge.worker.record
    charge.process = process
    charge.life.pid, charge.life.supervisor_pid = process.pid, process.supervisor_pid
    charge.life.started_us = process.started_at_us
    charge.life.take(Cue.RESERVED)
    charge.life.take(Cue.LAUNCHED)
    await open_egress(charge, process)
    events = [charge.status()] if record.asked is None else []
    if not charge.tells_of_a_reservation and process.exit is None:
        events = [*charge.reserved(), *events]
    if events:
        await charge.journal.tell(*events)
    await _resend(charge, process)
    if record.stdin_closed:
        process.close_stdin()
    if record.asked is not None:
        await stop(charge, record.asked, record.reason)
    charge.wake()


async def _resend(charge: Charge, process: Process) -> None:
    """What was accepted and had not reached the supervisor when its server died."""
    unsent_bytes = charge.streams.accepted_bytes - process.received_input_bytes
    if process.exit is not None:
        if process.exit.cause != "lost" and unsent_bytes > 0:
            await _tell_unread(charge, unsent_bytes, "the process ended before it could be sent")
        return
    try:
        data = await accepted_input(
            charge.worker.log, charge.streams.speech, after_bytes=process.received_input_bytes
        )
    except StoreFault as fault:
        await _tell_unread(charge, unsent_bytes, str(fault))
        return
    if len(data) < unsent_bytes:
        await _tell_unread(charge, unsent_bytes - len(data), "retention dropped it before it could be sent")
    process.write_input(data)


async def _tell_unread(charge: Charge, size_bytes: int, why: str) -> None:
    await charge.journal.tell(charge.alert(f"{size_bytes} bytes of accepted input were not read: {why}"))
