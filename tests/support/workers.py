"""Workers of the catalog without a runtime: a log, a view, no process."""

from __future__ import annotations

from typing import Any

import orjson

from watchglass.protocol.identity import WorkerId, WorkerRef
from watchglass.protocol.parsing import decode
from watchglass.protocol.workers import CreateWorkerRequest
from watchglass.runtime.worker import Worker
from watchglass.store.base import Store
from watchglass.store.worker_record import WorkerRecord


def request_of(**fields: Any) -> CreateWorkerRequest:
    """A request, parsed as one from outside is."""
    return decode(CreateWorkerRequest, orjson.dumps(fields))


def worker_of(worker_id: WorkerId = "w", **fields: Any) -> Worker:
    """A worker that nothing was said of yet; it has no log."""
    record = WorkerRecord(worker_id=worker_id, created_us=1, request=request_of(**fields), plan=None)
    return Worker(WorkerRef(runtime_id="rt", worker_id=worker_id), record)


async def worker_in(store: Store, worker_id: WorkerId = "w", **fields: Any) -> Worker:
    """The same with a log in a store; whatever is appended to its log is seen by its view."""
    worker = worker_of(worker_id, **fields)
    worker.log = await store.create(worker.record, worker.on_visible)
    return worker
