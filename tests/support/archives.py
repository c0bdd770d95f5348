"""Archives that no export wrote: members are free, and checksums right unless a test says otherwise."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from watchglass.protocol.cursor import encode_cursor
from watchglass.protocol.lifecycle import Phase
from watchglass.protocol.workers import CreateWorkerRequest, WorkerExit
from watchglass.runtime.archive.members import SUMS
from watchglass.runtime.archive.sums import headers_line, sum_line
from watchglass.runtime.archive.tar import END, Header, Kind, TarWriter, padding
from watchglass.store.worker_record import WorkerEnd, WorkerRecord

NOW_US = 1_760_000_000_000_000
FIRST = 1_700_000_000_000_000
"""The first sequence of `line_of`."""


@dataclass(frozen=True, slots=True)
class Member:
    """A header and its content; the size in the header is filled in by `packed`."""

    header: Header
    content: bytes = b""


def file(name: str, content: bytes = b"", **header: Any) -> Member:
    """A regular file."""
    return Member(Header(name=name, **header), content)


def folder(name: str, **header: Any) -> Member:
    """A folder."""
    return Member(Header(name=name, kind=Kind.FOLDER, mode=0o700, **header))


def link(name: str, target: str) -> Member:
    """A symbolic link."""
    return Member(Header(name=name, kind=Kind.LINK, target=target))


def ended_record(worker_id: str = "w", **changed: Any) -> WorkerRecord:
    """A passive worker that was stopped."""
    end = WorkerEnd(
        phase=Phase.STOPPED,
        started_us=FIRST,
        finished_us=FIRST + 9,
        exit=WorkerExit(code=None, signal=None, reason="stopped"),
        usage=None,
        transcript_len=1,
    )
    said: dict[str, Any] = {
        "worker_id": worker_id,
        "created_us": FIRST,
        "request": CreateWorkerRequest(),
        "plan": None,
        "end": end,
    }
    return WorkerRecord(**{**said, **changed})


def line_of(place: int = 0, worker_id: str = "w", event: str = "text_delta", **changed: Any) -> bytes:
    """A line of a journal, without its newline; `place` counts from 0."""
    cursor = encode_cursor(FIRST + place)
    envelope = {
        "cursor": cursor,
        "event_id": cursor,
        "worker_id": worker_id,
        "ts": "2023-11-14T22:13:20.000000Z",
        "payload": {"event": event, "data": {"text": f"text {place}"}},
    }
    return orjson.dumps({**envelope, **changed})


def journal(*lines: bytes) -> bytes:
    """Lines with their newlines."""
    return b"".join(line + b"\n" for line in lines)


def note_of(worker_id: str = "w", **changed: Any) -> bytes:
    """`format.json`."""
    note = {
        "format": 1,
        "runtime_id": "rt-elsewhere",
        "worker_id": worker_id,
        "exported_at": "2025-01-01T00:00:00.000000Z",
        "version": "0.1.0",
        "trimmed_through": 0,
    }
    return orjson.dumps({**note, **changed})


def members_of(worker_id: str = "w", *more: Member, events: int = 3) -> list[Member]:
    """A good archive's members but the checksums; `more` stand where the workspace does."""
    lines = [line_of(place, worker_id) for place in range(events)]
    return [
        file("format.json", note_of(worker_id)),
        file("worker.json", ended_record(worker_id).model_dump_json().encode()),
        file("events.jsonl", journal(*lines)),
        *more,
        file("left-out.jsonl"),
    ]


def with_member(members: Iterable[Member], name: str, content: bytes) -> list[Member]:
    """The same, one of them with another content."""
    return [replace(each, content=content) if each.header.name == name else each for each in members]


def without(members: Iterable[Member], *names: str) -> list[Member]:
    """The same without some."""
    return [each for each in members if each.header.name not in names]


def packed(members: Sequence[Member], *, sums: bytes | None = None, has_sums: bool = True) -> bytes:
    """The archive; `sums` replaces the lines that would be right."""
    tar, pieces, lines = TarWriter(), [], []
    for header, content in ((each.header, each.content) for each in members):
        pieces += [tar.header(replace(header, size_bytes=len(content))), content, padding(len(content))]
        if header.kind is Kind.FILE:
            lines.append(sum_line(header.name, hashlib.sha256(content).hexdigest()))
    if has_sums:
        right = b"".join(lines) if sums is None else sums
        size_bytes = len(headers_line("0" * 64)) + len(right)
        pieces.append(tar.header(Header(name=SUMS, size_bytes=size_bytes)))
        content = headers_line(tar.headers.hexdigest()) + right
        pieces += [content, padding(len(content))]
    return b"".join([*pieces, END])


async def in_pieces(data: bytes, size_bytes: int = 1000) -> AsyncIterator[bytes]:
    """Bytes as they come over a network."""
    for start in range(0, len(data), size_bytes):
        yield data[start : start + size_bytes]
