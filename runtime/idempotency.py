"""One request, one worker, however often it is sent (`Idempotency-Key`).

A key is remembered with a digest of its request, for the newest `KEYS_MAX`
keys. A repetition waits for the first and gets the same worker; a creation
that failed frees its key.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from dataclasses import dataclass

import orjson

from watchglass.protocol.errors import IdempotencyConflict
from watchglass.protocol.identity import WorkerId
from watchglass.protocol.workers import CreateWorkerRequest

KEYS_MAX = 10_000


@dataclass(slots=True)
class _Remembered:
    digest: str
    worker_id: asyncio.Future[WorkerId]


class IdempotencyKeys:
    """Keys of creations, and what came of them."""

    def __init__(self) -> None:
        self._remembered: OrderedDict[str, _Remembered] = OrderedDict()

    def find(self, key: str, request: CreateWorkerRequest) -> asyncio.Future[WorkerId] | None:
        """What an earlier request with this key came to, or None for a new key.

        Raises:
            IdempotencyConflict: The key came with another request.
        """
        found = self._remembered.get(key)
        if found is None:
            return None
        if found.digest != digest_of(request):
            raise IdempotencyConflict(key)
        return found.worker_id

    def claim(self, key: str, request: CreateWorkerRequest) -> asyncio.Future[WorkerId]:
        """Remember a new key; the caller settles the future it gets."""
        claimed: asyncio.Future[WorkerId] = asyncio.get_running_loop().create_future()
        self._remembered[key] = _Remembered(digest_of(request), claimed)
        self._bound()
        return claimed

    def restore(self, key: str, digest: str, worker_id: WorkerId) -> None:
        """A creation of an earlier runtime; `digest` is what `digest_of` gave."""
        came_to: asyncio.Future[WorkerId] = asyncio.get_running_loop().create_future()
        came_to.set_result(worker_id)
        self._remembered[key] = _Remembered(digest, came_to)
        self._bound()

    def forget(self, key: str) -> None:
        """The creation failed: the key is new again."""
        self._remembered.pop(key, None)

    def _bound(self) -> None:
        while len(self._remembered) > KEYS_MAX:
            self._remembered.popitem(last=False)


def digest_of(request: CreateWorkerRequest) -> str:
    """The same for the same request, in whatever order its objects were sent."""
    said = orjson.dumps(request.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(said).hexdigest()
