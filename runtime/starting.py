"""A worker's process is started: planned anew, launched, and looked at.

What the host can do may have changed since the worker was planned: then it is
planned again, and what /proc shows of its process must bear the plan out.
"""

from __future__ import annotations

from watchglass.protocol.errors import LaunchFailed, UnsupportedCapability
from watchglass.protocol.events import Event
from watchglass.protocol.execution import CapabilityMode, Network
from watchglass.protocol.lifecycle import Cue

from . import milestones
from .charge import Charge
from .egress import WorkerEgress
from .ending import end_unlaunched
from .executor import LaunchPlan, Process
from .policy import shortfalls


async def launch(charge: Charge) -> None:
    """Start the process; the ledger holds its room.

    Raises:
        LaunchFailed, UnsupportedCapability: It cannot be started; the worker has ended as `failed`.
    """
    charge.life.take(Cue.RESERVED)
    await charge.journal.tell(*charge.reserved(), charge.status())
    try:
        await _plan_again(charge)
        plan = charge.context.launch_plan(charge.worker)
        process = charge.process = await charge.context.executor.launch(plan, charge.wake)
    except (LaunchFailed, UnsupportedCapability) as fault:
        await end_unlaunched(charge, fault)
        raise
    except OSError as fault:
        failed = LaunchFailed("prepare", str(fault.filename), fault.errno or 0)
        await end_unlaunched(charge, failed)
        raise failed from fault
    charge.life.pid, charge.life.supervisor_pid = process.pid, process.supervisor_pid
    await open_egress(charge, process)
    charge.life.take(Cue.LAUNCHED)
    charge.life.started_us = process.started_at_us
    await charge.journal.tell(charge.status())
    await _verify(charge, plan, process)
    charge.send_held_back()


async def open_egress(charge: Charge, process: Process) -> None:
    """The worker's way out, if it has one: it is ours until its tree is empty."""
    sandbox = charge.worker.record.request.sandbox
    listener = process.take_egress()
    if listener is not None:
        charge.egress = WorkerEgress(
            listener, sandbox.network_allow, charge.context.gateway, on_news=charge.wake
        )
    elif sandbox.network is Network.PROXY and process.exit is None:
        await charge.journal.tell(charge.alert("it reaches nothing: there is no way into its network"))


async def _plan_again(charge: Charge) -> None:
    """Raises UnsupportedCapability: strict, and the host lost what the worker was planned with."""
    plan = await charge.context.plan(charge.worker)
    known = charge.worker.record.plan
    if plan is not None and plan is not known and (known is None or not plan.promises_as(known)):
        await charge.keep(plan=plan)
        await charge.journal.tell(milestones.plan_event(plan))


async def _verify(charge: Charge, launch: LaunchPlan, process: Process) -> None:
    """A plan that is not borne out is told, and in strict mode it is the worker's end."""
    plan = charge.worker.record.plan
    if plan is None or process.verified is None:  # It had ended before anybody could look.
        return
    missing = list(shortfalls(plan, launch, process.verified))
    for each in missing:
        await charge.journal.tell(charge.alert(f"{each.feature} is planned and not in force: {each.reason}"))
    if missing and plan.capability_mode is CapabilityMode.STRICT:
        fault = UnsupportedCapability(*missing[0])
        charge.refused = fault.code
        await charge.journal.tell(Event("error", {"code": fault.code, "message": str(fault)}))
        process.kill()
