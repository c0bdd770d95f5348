"""Output: every byte in the raw log, text in the feed, bounded, and nothing lost silently."""

from __future__ import annotations

from typing import Any

import pytest

from support.api import Api
from support.feed import data_of, in_thread, journal, names, observing, text_of
from support.processes import rss_bytes
from support.programs import program
from support.serving import Served

pytestmark = pytest.mark.trio

FLAGS = ["--runtime-id=rt-output", "--grace-ms=300"]
AFRESH = True

MIB = 1 << 20
INVALID = ["616263", "ff", "0a", "e282", "ac", "c3", "28", "f09f", "8e88", "f0", "9f"]
INVALID_BYTES = bytes.fromhex("".join(INVALID))


async def create(served: Served, *argv: str, **request: Any) -> str:
    return str((await in_thread(Api(served).create, *argv, **request))["worker_id"])


async def test_bytes_over_the_cap_are_counted_dropped_and_told_exactly(served: Served) -> None:
    worker_id = await create(served, *program("flood", 64 * MIB), limits={"stdout_max_bytes": MIB})
    ended = await journal(served, worker_id)
    alerts = data_of(ended, "alert")
    assert [alert["level"] for alert in alerts] == ["warning"]
    assert f"stdout had {64 * MIB} bytes" in alerts[0]["message"]
    assert f"the first {MIB} were kept" in alerts[0]["message"]
    assert data_of(ended, "exit") == [{"code": 0, "signal": None, "reason": "exited"}]
    assert names(ended)[-5:] == ["alert", "released", "exit", "status", "end"]
    kept = (b"x" * 63 + b"\n") * (MIB // 64)
    assert text_of(ended).encode() == kept
    assert await in_thread(Api(served).log, worker_id) == kept


async def test_a_cap_of_one_stream_leaves_the_other_alone(served: Served) -> None:
    worker_id = await create(
        served, "sh", "-c", "printf 12345; printf abcdef >&2", limits={"stderr_max_bytes": 2}
    )
    ended = await journal(served, worker_id)
    assert text_of(ended) == "12345"
    assert "".join(data["text"] for data in data_of(ended, "output")) == "ab"
    assert "stderr had 6 bytes, of which the first 2 were kept" in data_of(ended, "alert")[0]["message"]


async def test_text_that_is_not_utf8_is_replaced_in_the_feed_and_exact_in_the_log(served: Served) -> None:
    worker_id = await create(served, *program("binary", *INVALID))
    ended = await journal(served, worker_id)
    assert text_of(ended) == INVALID_BYTES.decode(errors="replace")
    assert await in_thread(Api(served).log, worker_id) == INVALID_BYTES


async def test_a_line_that_is_no_json_is_output_with_the_reason_and_its_place(served: Served) -> None:
    lines = [
        b'{"event": "ok", "data": {}}\n',
        b"\xff\xfe not json\n",
        b'{"event": "text_delta", "data": {"text": 1}}\n',
        b'{"event": "end", "data": {}}\n',
        b'{"event": "ok", "data": []}\n',
        b"[1]\n",
        b'{"event": "ok", "data": {"n": 2}}',
    ]
    worker_id = await create(served, *program("binary", b"".join(lines).hex()), speech="jsonl")
    ended = await journal(served, worker_id)
    assert data_of(ended, "ok") == [{}, {"n": 2}]
    outputs = data_of(ended, "output")
    assert [output["text"] for output in outputs] == [line.decode(errors="replace") for line in lines[1:6]]
    starts = [len(b"".join(lines[:number])) for number in range(1, 6)]
    assert [output["offset"] for output in outputs] == starts
    assert all(output["stream"] == "stdout" and output["reason"] for output in outputs)
    assert await in_thread(Api(served).log, worker_id) == b"".join(lines)


@pytest.mark.parametrize("speech", ["text", "jsonl"])
async def test_a_line_of_ten_mebibytes_is_told_in_bounded_pieces(served: Served, speech: str) -> None:
    size = 10 * MIB
    worker_id = await create(served, *program("oneline", size), speech=speech)
    before = rss_bytes(served.process.pid)
    ended = await journal(served, worker_id)
    pieces = data_of(ended, "text_delta" if speech == "text" else "output")
    assert max(len(piece["text"]) for piece in pieces) <= 65_536
    said = "".join(piece["text"] for piece in pieces)
    line = "y" * (size - 1) + "\n"
    after = '{"event": "after", "data": {}}\n'
    assert said == (line + after if speech == "text" else line)
    if speech == "jsonl":
        assert data_of(ended, "after") == [{}]
        assert all("262144" in piece["reason"] for piece in pieces)
        assert [piece["offset"] for piece in pieces] == _offsets(pieces)
    assert await in_thread(Api(served).log, worker_id) == (line + after).encode()
    assert rss_bytes(served.process.pid) - before < 100 * MIB


def _offsets(pieces: list[dict[str, object]]) -> list[int]:
    offsets, end = [], 0
    for piece in pieces:
        offsets.append(end)
        end += len(str(piece["text"]))
    return offsets


async def test_stderr_is_output_and_in_a_log_of_its_own(served: Served) -> None:
    worker_id = await create(served, "sh", "-c", "echo one >&2; echo two; echo three >&2")
    ended = await journal(served, worker_id)
    outputs = data_of(ended, "output")
    assert "".join(output["text"] for output in outputs) == "one\nthree\n"
    assert {output["stream"] for output in outputs} == {"stderr"}
    assert outputs[0]["offset"] == 0
    assert text_of(ended) == "two\n"
    assert await in_thread(Api(served).log, worker_id, "stderr") == b"one\nthree\n"


async def test_output_is_said_as_it_comes(served: Served) -> None:
    api = Api(served)
    worker_id = await create(served, "sh", "-c", "printf 'no newline'; exec cat")
    async with observing(served, worker_id, "earliest") as observer:
        assert await observer.until_text("no newline") == "no newline"
    assert await in_thread(api.log, worker_id) == b"no newline"
    await in_thread(api.act, worker_id, "cancel")


async def test_a_text_longer_than_one_entry_is_closed_in_parts(served: Served) -> None:
    worker_id = await create(served, *program("flood", 300_000))
    ended = await journal(served, worker_id)
    parts = [data["text"] for data in data_of(ended, "text_done")]
    assert all(len(part) <= 65_536 for part in parts)
    assert "".join(parts) == text_of(ended)
    transcript = (await in_thread(Api(served).get, f"/v1/workers/{worker_id}/transcript"))["transcript"]
    assert [item["content"] for item in transcript["items"]] == parts


@pytest.mark.soak
async def test_a_gibibyte_is_exact_in_the_log_and_bounded_in_memory(served: Served) -> None:
    size = 1 << 30
    api = Api(served)
    worker_id = await create(served, *program("flood", size))
    peak = 0
    while (await in_thread(api.worker, worker_id))["status"] == "running":
        peak = max(peak, rss_bytes(served.process.pid))
    worker = await in_thread(api.worker, worker_id)
    assert worker["exit"] == {"code": 0, "signal": None, "reason": "exited"}
    assert peak < 300 * MIB
    path, piece = f"/v1/workers/{worker_id}/logs/stdout", 16 * MIB
    expected = (b"x" * 63 + b"\n") * (piece // 64)
    for offset in range(0, size, piece):
        answer = await in_thread(api.request, "GET", f"{path}?offset={offset}&limit={piece}")
        assert answer.headers["content-range"] == f"bytes {offset}-{offset + piece - 1}/{size}"
        assert answer.body == expected, offset
    assert rss_bytes(served.process.pid) < 300 * MIB
