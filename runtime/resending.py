"""Accepted input that a process has not got: found again in the journal after a restart.

Input is in the journal before it is sent. The supervisor counts the bytes that
it took; the rest is made again from the events, by the same speech, so the
process reads one stream without a gap and without a repetition.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

import orjson

from watchglass.protocol.workers import WorkerInput
from watchglass.store.base import Log

from .speech import Speech

_MARKS = (b'"event":"user_message"', b'"event":"system_item"')


async def accepted_input(log: Log, speech: Speech, *, after_bytes: int) -> bytes:
    """What the journal accepted of input behind its first `after_bytes` bytes.

    Shorter than the log's offsets say when retention dropped some of it.
    """
    wanted_bytes = log.offsets.stdin - after_bytes
    if wanted_bytes <= 0:
        return b""
    newest: deque[bytes] = deque()
    held_bytes = 0
    position = log.trimmed_through
    while run := await log.read(after=position):
        position = run.last
        for said in _inputs(run.lines):
            newest.append(speech.encode(said))
            held_bytes += len(newest[-1])
            while held_bytes - len(newest[0]) >= wanted_bytes:
                held_bytes -= len(newest.popleft())
    return b"".join(newest)[-wanted_bytes:]


def _inputs(lines: Sequence[bytes]) -> Iterator[WorkerInput]:
    for line in lines:
        if any(mark in line for mark in _MARKS):  # Most lines need no parsing.
            payload = orjson.loads(line)["payload"]
            if payload["event"] == "user_message":
                content = "".join(segment["content"] for segment in payload["data"]["segments"])
                yield WorkerInput(kind="user", content=content)
            elif payload["event"] == "system_item":
                yield WorkerInput(kind="system", content=payload["data"]["item"]["content"])
