"""The feed of a whole runtime, `/v1/events` (docs/feed.md): whose events are asked for, and its own frames.

    workers=      (nothing): the runtime's own events | * : everybody's too | a,b,c : theirs too

Its other frames are those of version 2; `end` never comes, for a runtime has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from .base import Wire
from .errors import InvalidQuery, InvalidWorkerId
from .feed_v2 import FeedFilter, FeedRetention
from .identity import WorkerId, id_fault
from .runtime import RuntimeSummary
from .workers import WorkerSummary

EVERYBODY: Final = "*"
RUNTIME_NAME: Final = "runtime"
"""The `worker_id` in the envelopes of the runtime's own events, which no worker can have."""
WORKER_REMOVED: Final = "worker_removed"
"""The runtime's event of a worker that left with its events. The contract's batch does not have it."""
CHOSEN_WORKERS_MAX: Final = 256
SNAPSHOT_WORKERS_MAX: Final = 500
SNAPSHOT_BYTES_MAX: Final = 4 << 20
"""Of the workers in a snapshot: each may have long texts, and an observer takes a frame of 8 MiB at most."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Whose events are asked for beside the runtime's; `ids` None: everybody's."""

    ids: frozenset[WorkerId] | None = frozenset()

    def has(self, worker_id: WorkerId | None) -> bool:
        """Whether events of this log are; None: the runtime's own."""
        return worker_id is None or self.ids is None or worker_id in self.ids

    def said(self) -> Literal["*"] | list[WorkerId]:
        """As an answer tells it."""
        return EVERYBODY if self.ids is None else sorted(self.ids)


def chosen_of(workers: str | Iterable[str]) -> Chosen:
    """`*`, or ids of workers.

    Raises:
        InvalidWorkerId: One can be no worker's id.
        InvalidQuery: There are too many.
    """
    if workers == EVERYBODY:
        return Chosen(None)
    ids = workers.split(",") if isinstance(workers, str) else list(workers)
    if len(ids) > CHOSEN_WORKERS_MAX:
        reason = f"names {len(ids)} workers, and {CHOSEN_WORKERS_MAX} is the most; use * for all of them"
        raise InvalidQuery("workers", ",".join(ids), reason)
    for worker_id in ids:
        fault = id_fault(worker_id)
        if fault is not None:
            raise InvalidWorkerId(worker_id, fault)
    return Chosen(frozenset(ids))


def parse_workers(parameters: Mapping[str, Sequence[str]]) -> Chosen:
    """What the query asks for. Raises as `chosen_of`."""
    given = parameters.get("workers", ())
    if len(given) > 1:
        raise InvalidQuery("workers", ", ".join(given), "is given more than once")
    return chosen_of(given[0]) if given else Chosen()


class AllHello(Wire):
    """Always first; see `Hello`. `oldest`: the oldest cursor that can be honoured, as of all that are chosen.

    `replay_count` null: counting would take too long.
    """

    kind: Literal["hello"] = "hello"
    as_of: str
    requested: str
    resumed_from: str
    oldest: str
    replay_count: int | None
    retention: FeedRetention
    filter: FeedFilter
    heartbeat_s: float
    durability: Literal["none", "os", "fsync"]
    runtime_id: str
    workers: Literal["*"] | list[WorkerId]
    server_version: str


class AllSnapshot(Wire):
    """The runtime at `as_of`, and the chosen workers that have not ended, the newest first.

    `workers_left_out`: how many more are chosen that have not ended. Each `head` says
    as of which event of its own a worker is shown.
    """

    kind: Literal["snapshot"] = "snapshot"
    as_of: str
    runtime: RuntimeSummary
    workers: list[WorkerSummary]
    workers_left_out: int
