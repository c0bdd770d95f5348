"""What the catalog keeps of a worker: what was asked of it, and how it ended.

Its status, its transcript and everything else are views of its log.
"""

from __future__ import annotations

from watchglass.protocol.base import Wire
from watchglass.protocol.cursor import BEGINNING, Seq
from watchglass.protocol.execution import ExecutionPlan, Reservation, Usage
from watchglass.protocol.identity import WorkerId
from watchglass.protocol.lifecycle import Cue, Phase, Wanted
from watchglass.protocol.tasks import TaskTerms
from watchglass.protocol.workers import CreateWorkerRequest, WorkerExit


class WorkerEnd(Wire):
    """How a worker ended: what a list shows of it without opening its log. Times are µs since 1970.

    `head` is the sequence of its log's last event; 0 when nobody noted it. A log
    that ends before it has lost its end.
    """

    phase: Phase
    started_us: int | None
    finished_us: int
    exit: WorkerExit
    usage: Usage | None
    transcript_len: int
    head: Seq = BEGINNING


class WorkerRecord(Wire):
    """One worker of the catalog.

    What it `wanted` to be is kept apart from what it is, so no restart beats a
    stop: `asked` (STOP or CANCEL) and `reason` say who wanted it down and why.
    `request_digest` (hex) belongs to `idempotency_key`. `reservation` is what
    the ledger holds for it as soon as it is launched; a passive one has none.
    `task` is there when the worker was asked for as a task, and marks it as one.
    `end` is set once, when its log is complete. `imported`: its events are another
    runtime's, with the sequences of that one.
    """

    worker_id: WorkerId
    created_us: int
    request: CreateWorkerRequest
    plan: ExecutionPlan | None
    reservation: Reservation | None = None
    idempotency_key: str | None = None
    request_digest: str | None = None
    wanted: Wanted = Wanted.UP
    asked: Cue | None = None
    reason: str | None = None
    stdin_closed: bool = False
    task: TaskTerms | None = None
    imported: bool = False
    end: WorkerEnd | None = None

    def ended(self, end: WorkerEnd) -> WorkerRecord:
        """The same with its end, and without the values of its environment, which nobody needs any more."""
        return self.model_copy(update={"end": end, "request": self.request.redacted()})
