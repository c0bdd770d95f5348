"""`/v1/workers/{id}/logs/{stream}`: the exact bytes of stdout and stderr, also while they grow."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import aiofiles.threadpool
from pydantic import Field
from quart import Blueprint, Response, request
from quart_schema import document_querystring

from watchglass.protocol.errors import (
    InvalidQuery,
    InvalidRequest,
    InvalidWorkerId,
    RangeNotSatisfiable,
    StoreIo,
    WorkerNotFound,
)
from watchglass.protocol.identity import parse_worker_id

from .exchange import query, refuses, the_runtime
from .queries import Query, Whole
from .ranges import Span, span

CHUNK_BYTES = 64 << 10
_OFFSET_MAX = 1 << 53

logs_api = Blueprint("logs", __name__, url_prefix="/v1/workers/<string:worker_id>/logs")


class LogQuery(Query):
    """Which bytes; a Range header goes before these."""

    offset: Whole = Field(default=0, ge=0, le=_OFFSET_MAX)
    limit: Whole | None = Field(default=None, ge=1, le=_OFFSET_MAX)


@logs_api.get("/<any(stdout, stderr):stream>")
@document_querystring(LogQuery)
@refuses(InvalidWorkerId, InvalidQuery, InvalidRequest, WorkerNotFound, RangeNotSatisfiable, StoreIo)
async def read_log(worker_id: str, stream: Literal["stdout", "stderr"]) -> Response:
    """Read the bytes of a stream: as many as there are now, or the asked ones."""
    asked = query(LogQuery)
    path = the_runtime().output_file(parse_worker_id(worker_id), stream)
    found = span(
        _size_bytes(path),
        offset=asked.offset,
        limit=asked.limit,
        range_header=request.headers.get("Range"),
    )
    return Response(
        _pieces(path, found) if found.length else b"",
        206 if found.partial else 200,
        headers={
            "content-length": str(found.length),
            "content-range": found.content_range,
            "accept-ranges": "bytes",
            "cache-control": "no-store",
            "x-content-type-options": "nosniff",
        },
        content_type="application/octet-stream",
    )


def _size_bytes(path: Path) -> int:
    """How much is there; a worker that has not started has written nothing."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
    except OSError as fault:
        raise StoreIo("read", str(path), fault.strerror or str(fault)) from fault


async def _pieces(path: Path, wanted: Span) -> AsyncIterator[bytes]:
    left = wanted.length
    with path.open("rb") as file:  # Not in a thread: whoever is cancelled while it opens there loses it.
        file.seek(wanted.start)
        pieces = aiofiles.threadpool.wrap(file)
        while left:
            piece = await pieces.read(min(left, CHUNK_BYTES))
            if not piece:
                return  # Cut by somebody else; the short answer tells.
            left -= len(piece)
            yield piece
