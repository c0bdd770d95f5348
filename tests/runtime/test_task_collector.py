"""Old tasks go, oldest first, and no others."""

from __future__ import annotations

import pytest

from watchglass.protocol.errors import RuntimeStopped, StoreIo, WorkerNotFound
from watchglass.runtime.task_collector import Collector

pytestmark = pytest.mark.asyncio


class Catalog:
    """What a collector removes from; `refuse` is raised instead."""

    def __init__(self) -> None:
        self.now_us = 0
        self.removed: list[str] = []
        self.refuse: Exception | None = None
        self.collector = Collector(
            retention_us=100, interval_s=3600, now_us=lambda: self.now_us, remove=self._remove
        )

    async def _remove(self, task_id: str, finished_us: int) -> None:
        if self.refuse is not None:
            raise self.refuse
        self.removed.append(f"{task_id}@{finished_us}")


async def test_a_task_goes_when_it_is_old_enough_and_not_before() -> None:
    catalog = Catalog()
    for task_id, finished_us in (("b", 20), ("a", 10), ("c", 30)):
        catalog.collector.add(task_id, finished_us)
    catalog.now_us = 109
    await catalog.collector.collect()
    assert catalog.removed == []
    catalog.now_us = 120
    await catalog.collector.collect()
    assert catalog.removed == ["a@10", "b@20"]
    await catalog.collector.collect()
    assert catalog.removed == ["a@10", "b@20"]


async def test_one_that_somebody_removed_meanwhile_is_passed_over() -> None:
    catalog = Catalog()
    catalog.collector.add("a", 1)
    catalog.now_us = 1000
    catalog.refuse = WorkerNotFound("a")
    await catalog.collector.collect()
    catalog.refuse = None
    await catalog.collector.collect()
    assert catalog.removed == []


async def test_one_that_the_store_does_not_let_go_is_tried_again() -> None:
    catalog = Catalog()
    catalog.collector.add("a", 1)
    catalog.now_us = 1000
    catalog.refuse = StoreIo("delete", "/x", "read-only")
    await catalog.collector.collect()
    catalog.refuse = None
    await catalog.collector.collect()
    assert catalog.removed == ["a@1"]


async def test_a_runtime_that_stops_ends_the_rounds() -> None:
    catalog = Catalog()
    catalog.collector.add("a", 1)
    catalog.now_us = 1000
    catalog.refuse = RuntimeStopped("rt")
    with pytest.raises(RuntimeStopped):
        await catalog.collector.collect()
