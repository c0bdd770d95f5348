"""Input: acknowledged when it is on its way, exactly once, in order, and bounded."""

from __future__ import annotations

import hashlib

import pytest
import trio

from support.api import Api
from support.feed import data_of, in_thread, journal, observing
from support.patience import PATIENCE_S
from support.programs import program
from support.serving import Served

pytestmark = pytest.mark.trio

FLAGS = ["--runtime-id=rt-input", "--grace-ms=300"]

BACKLOG_BYTES = 524_288


async def test_input_reaches_the_process_in_order(served: Served) -> None:
    api = Api(served)
    worker_id = (await in_thread(api.create, "cat", initial_input={"content": "0"}))["worker_id"]
    for number in range(1, 50):
        await in_thread(api.say, worker_id, str(number))
    await in_thread(api.act, worker_id, "close-stdin")
    await journal(served, worker_id)
    assert await in_thread(api.log, worker_id) == b"".join(b"%d\n" % number for number in range(50))


async def test_input_that_nobody_reads_is_refused_over_the_bound(
    served: Served,
) -> None:
    api = Api(served)
    worker_id = (await in_thread(api.create, *program("deaf")))["worker_id"]
    path = f"/v1/workers/{worker_id}/input"
    accepted = b""
    refused = 0
    async with observing(served, worker_id, "earliest") as observer:
        await observer.until_text("deaf\n")
        for number in range(100):
            content = f"{number:04d} " + "i" * 10_235
            answer = await in_thread(api.request, "POST", path, {"kind": "user", "content": content})
            if answer.status == 200:
                accepted += content.encode() + b"\n"
            else:
                assert (answer.status, answer.code) == (429, "input_backlog")
                assert int(answer.headers["retry-after"]) >= 1
                assert str(BACKLOG_BYTES) in answer.message
                refused += 1
        assert refused
        assert BACKLOG_BYTES - 11_000 < len(accepted) <= BACKLOG_BYTES + (1 << 17)
        worker = await in_thread(api.worker, worker_id)
        assert 0 < worker["input_backlog_bytes"] <= BACKLOG_BYTES
        assert worker["transcript_len"] == 100 - refused + 1  # And its own word, which an input closed.
        await in_thread(api.act, worker_id, "signal", {"signal": "SIGUSR1"})
        await in_thread(api.act, worker_id, "close-stdin")
        said = await observer.until_text("\n")
        await observer.until("end")
    assert said.split() == [str(len(accepted)), hashlib.sha256(accepted).hexdigest()]


async def test_room_in_the_backlog_is_given_back(served: Served) -> None:
    api = Api(served)
    worker_id = (await in_thread(api.create, "sha256sum"))["worker_id"]
    content = "r" * 262_144
    for _ in range(8):
        while True:
            answer = await in_thread(
                api.request, "POST", f"/v1/workers/{worker_id}/input", {"content": content}
            )
            if answer.status == 200:
                break
            assert answer.code == "input_backlog"
    await in_thread(api.act, worker_id, "close-stdin")
    await journal(served, worker_id)
    digest = hashlib.sha256((content.encode() + b"\n") * 8).hexdigest()
    assert (await in_thread(api.log, worker_id)).split()[0] == digest.encode()


async def test_input_that_was_never_read_is_told(served: Served) -> None:
    api = Api(served)
    worker_id = (await in_thread(api.create, *program("deaf")))["worker_id"]
    for _ in range(2):
        await in_thread(api.say, worker_id, "z" * 100_000)
    await in_thread(api.act, worker_id, "cancel")
    alerts = data_of(await journal(served, worker_id), "alert")
    assert len(alerts) == 1
    assert set(alerts[0]) == {"level", "source", "message", "timestamp_ms"}
    assert alerts[0]["level"] == "warning"
    assert "input were not read" in alerts[0]["message"]
    undelivered = int(alerts[0]["message"].split()[0])
    assert 200_002 - (1 << 16) - 4096 <= undelivered <= 200_002


async def test_input_to_a_worker_that_closed_its_stdin_is_refused(served: Served) -> None:
    api = Api(served)
    worker_id = (await in_thread(api.create, "sh", "-c", "exec <&-; echo closed; exec sleep 600"))[
        "worker_id"
    ]
    async with observing(served, worker_id, "earliest") as observer:
        await observer.until_text("closed\n")
    path = f"/v1/workers/{worker_id}/input"
    with trio.fail_after(PATIENCE_S):  # The broken pipe shows when something is written to it.
        while (answer := await in_thread(api.request, "POST", path, {"content": "x"})).status == 200:
            pass
    assert (answer.status, answer.code) == (400, "invalid_request")
    assert "no open input" in answer.message
    await in_thread(api.act, worker_id, "cancel")


async def test_text_input_is_given_as_it_is(served: Served) -> None:
    api = Api(served)
    worker_id = (await in_thread(api.create, "cat"))["worker_id"]
    said = ["  spaces  ", "two\nlines", "tab\tand \x00 and \x1b", "héllo 🎈", "-" * 262_144]
    for content in said:
        await in_thread(api.say, worker_id, content)
    await in_thread(api.act, worker_id, "close-stdin")
    await journal(served, worker_id)
    assert await in_thread(api.log, worker_id) == "".join(f"{content}\n" for content in said).encode()
