"""`/v1/workers/{id}/export` and `/v1/workers/import`: one ended worker as a tar, out and in.

An import goes past Quart, which would hold a body that comes faster than a disk
writes. Here the next piece is asked for when the one before it is on its way to
the disk, so the sender waits for us, and memory stays flat.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final

from quart import Blueprint, Response, request

from watchglass.protocol.errors import (
    ArchiveInvalid,
    BodyTooLarge,
    InvalidRequest,
    InvalidWorkerId,
    ResourceLimitExceeded,
    RuntimeFault,
    RuntimeStopped,
    StoreCorrupt,
    StoreIo,
    StoreMissing,
    WorkerActive,
    WorkerExists,
    WorkerNotFound,
)
from watchglass.protocol.identity import parse_worker_id
from watchglass.protocol.workers import ImportAnswer
from watchglass.runtime import Runtime

from .asgi import Receive, Scope, header
from .exchange import refuses, the_runtime

IMPORT_ROUTE: Final = "/v1/workers/import"
IMPORT_FAULTS: Final = (
    ArchiveInvalid,
    InvalidRequest,
    RuntimeStopped,
    WorkerExists,
    BodyTooLarge,
    ResourceLimitExceeded,
    StoreIo,
)
MEDIA_TYPE: Final = "application/x-tar"
PIECE_S: Final = 60.0
"""How long the next bytes of an archive may take to come."""
_LOG = logging.getLogger(__name__)

archives_api = Blueprint("archives", __name__, url_prefix="/v1/workers/<string:worker_id>")


@archives_api.get("/export")
@refuses(InvalidWorkerId, WorkerNotFound, WorkerActive, StoreIo, StoreMissing, StoreCorrupt)
async def export_worker(worker_id: str) -> Response:
    """Export an ended worker, whole, as a tar with checksums."""
    pieces = await the_runtime().export_worker(parse_worker_id(worker_id))
    if request.method == "HEAD":
        await pieces.aclose()
        return _tar(worker_id, b"")
    first = await anext(pieces)  # What is refused at the beginning is an answer, and not a cut stream.
    return _tar(worker_id, _told(worker_id, first, pieces))


def is_import(scope: Scope) -> bool:
    """Whether this request is one; another method is a question about a worker that has this name."""
    return bool(scope["type"] == "http" and scope["path"] == IMPORT_ROUTE and scope["method"] == "POST")


async def import_worker(runtime: Runtime, scope: Scope, receive: Receive) -> ImportAnswer:
    """Keep the worker of the archive that is the body.

    Raises:
        BodyTooLarge: Over the runtime's `import_max_bytes`.
        ArchiveInvalid, WorkerExists, ResourceLimitExceeded, RuntimeStopped, StoreIo, InvalidRequest.
    """
    limit_bytes = runtime.options.import_max_bytes
    said = header(scope, b"content-length")
    if said is not None and said.isdigit() and int(said) > limit_bytes:
        raise BodyTooLarge(limit_bytes)
    async with aclosing(_body(receive, limit_bytes)) as pieces:
        imported = await runtime.import_worker(pieces)
    return ImportAnswer(
        worker=imported.worker, left_out=imported.left_out, left_out_count=imported.left_out_count
    )


async def _body(receive: Receive, limit_bytes: int) -> AsyncGenerator[bytes, None]:
    size_bytes = 0
    more = True
    while more:
        try:
            async with asyncio.timeout(PIECE_S):
                message = await receive()
        except TimeoutError:
            raise InvalidRequest(f"nothing of the body came for {PIECE_S:g} s") from None
        if message["type"] != "http.request":
            raise InvalidRequest("the sender has left before all of the body had come")
        more = message.get("more_body", False)
        piece = message.get("body", b"")
        size_bytes += len(piece)
        if size_bytes > limit_bytes:
            raise BodyTooLarge(limit_bytes)
        yield piece


def _tar(worker_id: str, content: AsyncIterator[bytes] | bytes) -> Response:
    return Response(
        content,
        headers={
            "cache-control": "no-store",
            "content-disposition": f'attachment; filename="{worker_id}.tar"',
            "x-content-type-options": "nosniff",
        },
        content_type=MEDIA_TYPE,
    )


async def _told(worker_id: str, first: bytes, pieces: AsyncGenerator[bytes, None]) -> AsyncIterator[bytes]:
    """The pieces; a fault among them cuts the connection, and the log says why."""
    try:
        async with aclosing(pieces) as following:
            yield first
            async for piece in following:
                yield piece
    except RuntimeFault as fault:
        _LOG.warning("the export of worker %s was cut: %s", worker_id, fault)
        raise
