"""What the catalog keeps of a worker, also of one from before a field was there."""

from __future__ import annotations

import json

from watchglass.protocol.execution import ExecutionSpec
from watchglass.protocol.tasks import TaskTerms
from watchglass.protocol.workers import CreateWorkerRequest
from watchglass.store.worker_record import WorkerRecord

REQUEST = CreateWorkerRequest(execution=ExecutionSpec(program="true"))
TERMS = TaskTerms(stdout_max_bytes=10, stderr_max_bytes=20)


def test_a_task_stays_a_task() -> None:
    record = WorkerRecord(worker_id="w", created_us=1, request=REQUEST, plan=None, task=TERMS)
    assert WorkerRecord.model_validate_json(record.model_dump_json()) == record


def test_a_record_from_before_there_were_tasks_is_a_plain_workers() -> None:
    record = WorkerRecord(worker_id="w", created_us=1, request=REQUEST, plan=None)
    old = json.loads(record.model_dump_json())
    del old["task"], old["reservation"]
    assert WorkerRecord.model_validate_json(json.dumps(old)) == record
    assert record.task is None
