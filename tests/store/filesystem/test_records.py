"""What a worker's record takes in memory, and that it says the same afterwards."""

from __future__ import annotations

from watchglass.protocol.cursor import Seq
from watchglass.protocol.execution import ExecutionSpec, Limits
from watchglass.protocol.workers import CreateWorkerRequest
from watchglass.store.filesystem.records import Kept, SharedParts, kept_of
from watchglass.store.worker_record import WorkerRecord


def read_back(worker_id: str, request: CreateWorkerRequest) -> WorkerRecord:
    """As a start reads it: no two of them have a part in common."""
    record = WorkerRecord(worker_id=worker_id, created_us=1, request=request, plan=None)
    kept = kept_of(Kept(record, Seq(1), Seq(2)).encoded())
    assert kept is not None
    return kept.record


def test_what_records_say_alike_is_kept_once_and_what_they_do_not_stays_their_own() -> None:
    said = [
        CreateWorkerRequest(execution=ExecutionSpec(program="one")),
        CreateWorkerRequest(execution=ExecutionSpec(program="two")),
        CreateWorkerRequest(limits=Limits(pids_max=7)),
    ]
    records = [read_back(f"w-{number}", request) for number, request in enumerate(said)]
    before = [record.model_dump_json() for record in records]
    shared = SharedParts()
    for record in records:
        shared.put_into(record)
    assert [record.model_dump_json() for record in records] == before
    one, two, other = (record.request for record in records)
    assert one.limits is two.limits
    assert one.sandbox is two.sandbox is other.sandbox
    assert one.execution is not two.execution
    assert other.limits.pids_max == 7
    assert one.limits.pids_max is None


def test_a_part_of_another_kind_is_another_part_even_where_it_reads_the_same() -> None:
    class Narrower(Limits):
        pass

    plain = read_back("plain", CreateWorkerRequest())
    narrow = plain.model_copy(update={"request": plain.request.model_copy(update={"limits": Narrower()})})
    shared = SharedParts()
    shared.put_into(plain)
    shared.put_into(narrow)
    assert type(plain.request.limits) is Limits
    assert type(narrow.request.limits) is Narrower
