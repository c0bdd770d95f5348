"""Every worker that is known, in order of creation, by page and by filter."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchglass.protocol.errors import InvalidQuery, ResourceLimitExceeded, WorkerExists, WorkerNotFound
from watchglass.protocol.lifecycle import Phase, WorkerStatus
from watchglass.runtime.catalog import Catalog, Entry, WorkerFilter
from watchglass.runtime.driver_context import DriverContext

from support.workers import worker_of

NO_CONTEXT = cast(DriverContext, None)
EVERYBODY = WorkerFilter()


def catalog_of(*worker_ids: str, workers_max: int = 100) -> Catalog:
    catalog = Catalog(workers_max)
    for worker_id in worker_ids:
        add(catalog, worker_id)
    return catalog


def add(catalog: Catalog, worker_id: str, phase: Phase = Phase.RUNNING, **fields: Any) -> None:
    catalog.hold(worker_id)
    worker = worker_of(worker_id, **fields)
    worker.life.phase = phase
    catalog.add(Entry(worker, NO_CONTEXT))


def ids(catalog: Catalog, wanted: WorkerFilter = EVERYBODY, **page: Any) -> list[str]:
    workers, _more = catalog.page(wanted, page.get("limit"), page.get("after"))
    return [worker.worker_id for worker in workers]


def test_workers_are_listed_in_order_of_creation() -> None:
    catalog = catalog_of("c", "a", "b")
    assert ids(catalog) == ["c", "a", "b"]
    assert [entry.worker.worker_id for entry in catalog] == ["c", "a", "b"]
    assert len(catalog) == 3


def test_a_worker_that_comes_late_and_is_older_stands_in_its_place() -> None:
    catalog = catalog_of("first", "second")
    for worker_id, created_us in (("oldest", 0), ("newest", 9)):
        worker = worker_of(worker_id)
        worker.record = worker.record.model_copy(update={"created_us": created_us})
        catalog.add(Entry(worker, NO_CONTEXT))
    assert ids(catalog) == ["oldest", "first", "second", "newest"]


def test_a_worker_is_found_by_its_id_and_an_unknown_one_is_named() -> None:
    catalog = catalog_of("a")
    assert catalog.get("a").worker.worker_id == "a"
    with pytest.raises(WorkerNotFound, match="'b'"):
        catalog.get("b")


def test_an_id_is_taken_from_the_moment_of_its_creation_on() -> None:
    catalog = Catalog(100)
    catalog.hold("a")
    with pytest.raises(WorkerExists):
        catalog.hold("a")
    with pytest.raises(WorkerNotFound):
        catalog.get("a")
    catalog.let_go("a")
    add(catalog, "a")
    with pytest.raises(WorkerExists):
        catalog.hold("a")


def test_a_full_catalog_counts_those_being_created_and_names_its_bound() -> None:
    catalog = catalog_of("a", workers_max=2)
    catalog.hold("b")
    with pytest.raises(ResourceLimitExceeded, match="there are 2 workers in the catalog"):
        catalog.hold("c")
    catalog.remove("a")
    catalog.hold("c")


def test_a_removed_worker_is_forgotten_and_removing_again_is_no_error() -> None:
    catalog = catalog_of("a", "b")
    catalog.remove("a")
    catalog.remove("a")
    assert ids(catalog) == ["b"]


@given(st.integers(0, 12), st.integers(1, 5))
def test_pages_put_together_are_the_list(count: int, limit: int) -> None:
    catalog = catalog_of(*(f"w{number}" for number in range(count)))
    paged: list[str] = []
    more = True
    while more:
        workers, more = catalog.page(EVERYBODY, limit, paged[-1] if paged else None)
        assert len(workers) <= limit
        assert workers or not paged
        assert not workers or workers[0].worker_id not in paged
        paged += [worker.worker_id for worker in workers]
    assert paged == ids(catalog)


def test_a_page_after_an_unknown_worker_is_refused() -> None:
    with pytest.raises(InvalidQuery, match="after='gone': no worker has this id"):
        catalog_of("a").page(EVERYBODY, 1, "gone")


def test_a_page_goes_on_after_a_worker_that_its_filter_no_longer_admits() -> None:
    catalog = catalog_of("a", "b", "c")
    catalog.get("b").worker.life.phase = Phase.FAILED
    assert ids(catalog, WorkerFilter(phase=Phase.RUNNING), after="b") == ["c"]


def test_a_filter_admits_by_status_phase_and_every_label() -> None:
    catalog = Catalog(100)
    add(catalog, "waits", Phase.ACCEPTED)
    add(catalog, "runs", Phase.RUNNING, control_context={"labels": {"team": "x", "tier": "1"}})
    add(catalog, "failed", Phase.FAILED, control_context={"labels": {"team": "x"}})
    add(catalog, "gone", Phase.CANCELLED)
    assert ids(catalog, WorkerFilter(status=WorkerStatus.RUNNING)) == ["waits", "runs"]
    assert ids(catalog, WorkerFilter(status=WorkerStatus.STOPPED)) == ["failed"]
    assert ids(catalog, WorkerFilter(phase=Phase.CANCELLED)) == ["gone"]
    assert ids(catalog, WorkerFilter(labels={"team": "x"})) == ["runs", "failed"]
    assert ids(catalog, WorkerFilter(labels={"team": "x", "tier": "1"})) == ["runs"]
    assert ids(catalog, WorkerFilter(labels={"team": ""})) == []
    assert ids(catalog, WorkerFilter(status=WorkerStatus.STOPPED, labels={"team": "x"})) == ["failed"]


def test_workers_are_counted_by_the_contract_s_word() -> None:
    catalog = Catalog(100)
    for number, phase in enumerate(Phase):
        add(catalog, f"w{number}", phase)
    assert catalog.counts() == {
        WorkerStatus.RUNNING: 4,
        WorkerStatus.STOPPED: 4,
        WorkerStatus.CANCELLED: 1,
    }
