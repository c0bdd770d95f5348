"""One observer of a whole runtime, without the socket: `follow.py` for `/v1/events` (docs/feed.md).

It owes its reader the same: the events of the chosen workers and the runtime's
own after the first cursor, in the order of their sequences, each exactly once.
It never ends by itself, for a runtime has no end.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Final, NamedTuple

from .errors import shown
from .follow import Following, OnExpired
from .said import FeedViolation

Json = dict[str, Any]

EVERYBODY: Final = "*"
RUNTIME_NAME: Final = "runtime"
"""The `worker_id` of the runtime's own events."""


class Workers(NamedTuple):
    """Whose events are asked for beside the runtime's own; None: everybody's."""

    ids: tuple[str, ...] | None


def workers_of(workers: str | Iterable[str]) -> Workers:
    """`*`, or ids: several of them, or one text with commas between them."""
    if workers == EVERYBODY:
        return Workers(None)
    named = workers.split(",") if isinstance(workers, str) else workers
    return Workers(tuple(worker_id for worker_id in named if worker_id))


class FollowingAll(Following):
    """Where one reader stands among the events of a runtime, over any number of connections."""

    def __init__(
        self,
        workers: Workers,
        after: str | None = None,
        *,
        types: Collection[str] = (),
        on_expired: OnExpired = "close",
    ) -> None:
        """See `Following`. Raises CursorMalformed."""
        super().__init__(RUNTIME_NAME, after, types=types, on_expired=on_expired)
        self._workers = workers

    def whose(self) -> dict[str, Any]:
        """See `Following`."""
        ids = self._workers.ids
        return {"workers": EVERYBODY if ids is None else list(ids)}

    def query(self) -> dict[str, str]:
        """See `Following`."""
        ids = self._workers.ids
        named = {} if ids == () else {"workers": EVERYBODY if ids is None else ",".join(ids)}
        return {**super().query(), **named}

    def _is_end(self, _name: str) -> bool:
        return False  # Of one worker, perhaps.

    def _phase_of(self, _snapshot: Json) -> str | None:
        return None

    def _check_worker(self, body: Json) -> None:
        if body.get("kind") == "hello":
            return
        ids, worker_id = self._workers.ids, body.get("worker_id")
        if worker_id != RUNTIME_NAME and ids is not None and worker_id not in ids:
            what = f"event {body.get('cursor')} is of worker {shown(worker_id)}"
            raise FeedViolation("foreign", f"{what}, which nobody asked for")


def following(
    whose: str | Workers,
    after: str | None = None,
    *,
    types: Collection[str] = (),
    on_expired: OnExpired = "close",
) -> Following:
    """An observer of one worker, or of many. Raises CursorMalformed."""
    if isinstance(whose, Workers):
        return FollowingAll(whose, after, types=types, on_expired=on_expired)
    return Following(whose, after, types=types, on_expired=on_expired)
