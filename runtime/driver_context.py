"""What a driver needs of its runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from watchglass.protocol.execution import ExecutionPlan
from watchglass.store.worker_record import WorkerRecord

from .egress import Gateway
from .executor import Executor, LaunchPlan
from .options import RuntimeOptions
from .worker import Worker


class DriverContext(Protocol):
    """What a driver needs of its runtime."""

    executor: Executor
    gateway: Gateway
    options: RuntimeOptions

    def now_us(self) -> int:
        """The time, µs since 1970."""

    def directory(self, worker: Worker) -> Path:
        """The worker's own folder."""

    async def plan(self, worker: Worker) -> ExecutionPlan | None:
        """What its request comes to on this host now. Raises UnsupportedCapability."""

    def launch_plan(self, worker: Worker) -> LaunchPlan:
        """How to start the worker as it is planned. Raises LaunchFailed, OSError."""

    async def save(self, record: WorkerRecord, *, durable: bool = True) -> None:
        """Keep a newer version of the worker's record (see `Store.save`). Raises StoreIo, StoreMissing."""

    async def save_view(self, worker: Worker) -> None:
        """Keep what spares the worker's view a replay."""

    async def announce_input(self, worker: Worker) -> None:
        """Tell the runtime's own log of an accepted input."""

    async def on_ended(self, worker: Worker) -> None:
        """The worker's process tree is empty and its log is complete."""
