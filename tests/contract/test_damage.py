"""A store that somebody or something damaged: it is told, it costs whom it happened to, and nobody else."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import trio

from watchglass.protocol.cursor import decode_cursor
from watchglass.store.filesystem.seal import sealed_json

from support.api import Api
from support.chatter import Chatterer, Heard, acknowledged_in_order
from support.damage import appended_spans
from support.feed import data_of, in_thread, journal, names, observing
from support.mortal import Whereabouts, follow, send
from support.patience import PATIENCE_S
from support.processes import wait_true
from support.programs import program
from support.serving import Place, Served, durable_server

pytestmark = pytest.mark.trio

DAY_US = 86_400_000_000


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with durable_server(tmp_path / "state", "--grace-ms=500", runtime_id="rt-damage") as place:
        yield place


async def goodbye(served: Served, worker_id: str, cursor: str | None = None) -> Any:
    """How an observer's feed ends: the last event, or the code of the diagnostic."""
    async with observing(served, worker_id, cursor, queue_frames=64) as observer:
        while True:
            frame = await observer.frame()
            if frame["kind"] == "diagnostic":
                return frame["diagnostic"]["code"]
            if frame["envelope"]["payload"]["event"] == "end":
                return "end"


async def test_a_worker_whose_directory_was_removed_says_so_and_the_others_go_on(place: Place) -> None:
    others = [Chatterer("one", "text", stderr=True, period_ms=5), Chatterer("two", "jsonl", False, 5)]
    victim = Chatterer("victim", "text", stderr=False, period_ms=5)
    heard = {talker.name: Heard(talker.name, talker.speech) for talker in others}
    where = Whereabouts()
    ended: dict[str, Any] = {}
    with place.serving() as served:
        api = Api(served)
        for talker in (*others, victim):
            await in_thread(api.create, *talker.argv(), worker_id=talker.name, speech=talker.speech)
        await in_thread(api.create, worker_id="passive")
        await in_thread(api.create, "true", worker_id="ended")
        await journal(served, "ended")
        where.tell(served)

        async def watch(worker_id: str, joined: trio.Event) -> None:
            async with observing(served, worker_id, queue_frames=64) as observer:
                await observer.event()
                joined.set()
                frame = await observer.frame()
                while frame["kind"] == "event" and frame["envelope"]["payload"]["event"] != "end":
                    frame = await observer.frame()
                ended[worker_id] = frame

        with trio.fail_after(PATIENCE_S):
            async with trio.open_nursery() as everybody:
                for one in heard.values():
                    everybody.start_soon(follow, where, one)
                joined = trio.Event()
                everybody.start_soon(watch, "victim", joined)
                await joined.wait()
                for worker_id in ("victim", "passive", "ended"):
                    await in_thread(subprocess.run, ["rm", "-rf", str(place.worker_dir(worker_id))])
                for worker_id in ("victim", "passive"):
                    path = f"/v1/workers/{worker_id}/input"
                    while (
                        answer := await in_thread(api.request, "POST", path, {"content": "x"})
                    ).status == 200:
                        pass  # What its journal's open file takes until somebody notices.
                    assert answer.code in {"store_missing", "store_io", "state_poisoned", "invalid_request"}
                assert await goodbye(served, "ended", "earliest") in {
                    "end",  # Of what memory still had.
                    "runtime.unavailable",
                    "runtime.worker_not_found",
                }
                for talker in others:
                    assert await send(served, talker, "hello")
                assert (await in_thread(api.get, "/readyz"))["status"] == "ready"
                assert (await in_thread(api.create, "cat", worker_id="new"))["phase"] == "running"
                for talker in others:
                    assert await send(served, talker, "leave")
        for talker in others:
            heard[talker.name].complete()
            acknowledged_in_order(talker, heard[talker.name])
        assert served.stop() == 0, served.stderr
    with place.serving() as served:
        api = Api(served)
        there = {
            worker["worker_id"]: worker["phase"]
            for worker in (await in_thread(api.get, "/v1/workers"))["workers"]
        }
        assert {name: there[name] for name in ("one", "two", "new")} == {
            "one": "succeeded",
            "two": "succeeded",
            "new": "running",
        }
        assert not {name for name, phase in there.items() if phase == "running"} & {
            "victim",
            "passive",
            "ended",
        }
        place.drain()
    await in_thread(wait_true, lambda: not place.family(), "nothing of the removed worker is left")


async def test_cursors_grow_although_the_clock_went_back_a_day(place: Place) -> None:
    with place.serving() as served:
        await in_thread(Api(served).create, "cat", worker_id="w")
        first = await in_thread(Api(served).say, "w", "first")
        place.kill()
    ahead = time.time_ns() // 1000 + DAY_US
    (place.runtime_dir / "ceiling").write_bytes(sealed_json({"below": f"{ahead:016x}"}))
    with place.serving() as served:
        second = await in_thread(Api(served).say, "w", "second")
        assert int(second["event_id"][3:], 16) >= ahead
        place.kill()
    with place.serving() as served:
        third = await in_thread(Api(served).say, "w", "third")
        assert first["event_id"] < second["event_id"] < third["event_id"]
        async with observing(served, "w", first["event_id"], queue_frames=64) as observer:
            await observer.event()
            got = await observer.until_true(lambda event: event["cursor"] == third["event_id"])
            cursors = [event["cursor"] for event in got]
            assert cursors == sorted(set(cursors))
            said = [data["segments"][0]["content"] for data in data_of(got, "user_message")]
            assert said == ["second", "third"]
        place.drain()


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(1, 8))])
async def test_a_cut_of_the_newest_segments_costs_their_last_words_and_nothing_else(
    place: Place, tmp_path: Path, seed: int
) -> None:
    rng = Random(seed)
    passive, live, ended = (
        [f"{kind}-{number}" for number in range(5)] for kind in ("passive", "live", "ended")
    )
    before: dict[str, list[Any]] = {}
    with place.serving("--durability=os") as served:
        api = Api(served)
        for worker_id in passive:
            await in_thread(api.create, worker_id=worker_id)
            for number in range(6):
                said = [{"event": "mine", "data": {"n": number, "pad": "é" * number}}] * 3
                await in_thread(api.post, f"/v1/workers/{worker_id}/events", {"events": said})
        for worker_id in live:
            await in_thread(api.create, *program("signals"), worker_id=worker_id)
        for worker_id in ended:
            await in_thread(api.create, *program("lines", "x", 20), worker_id=worker_id)
            before[worker_id] = await journal(served, worker_id)
        for worker_id in (*passive, *live):
            head = (await in_thread(api.say, worker_id, "the last word"))["event_id"]
            async with observing(served, worker_id, "earliest", queue_frames=64) as observer:
                got = await observer.until_true(lambda event, head=head: event["cursor"] == head)  # type: ignore[misc]
                before[worker_id] = got[1:]
        place.kill()
    await in_thread(place.wipe)

    copy = tmp_path / "copy"
    await in_thread(subprocess.run, ["cp", "-a", str(place.root), str(copy)], check=True)
    cut = [worker_id for kind in (passive, live, ended) for worker_id in rng.sample(kind, 3)]
    for worker_id in cut:
        segment = max((copy / "runtimes" / place.runtime_id / "workers" / worker_id / "events").iterdir())
        os.truncate(segment, rng.choice(inside_appends(segment, before[worker_id][-1]["cursor"])))
    with (
        durable_server(tmp_path / "other", runtime_id=place.runtime_id, root=copy) as other,
        other.serving() as served,
    ):
        api = Api(served)
        notes = (await in_thread(api.get, "/v1/diagnostics"))["diagnostics"]
        told = {note["worker_ref"]["worker_id"] for note in notes if note["severity"] != "info"}
        assert told == set(cut), notes
        for worker_id, was in before.items():
            if worker_id in passive:
                await in_thread(api.act, worker_id, "stop")
            now = await journal(served, worker_id)
            if worker_id not in cut:
                assert now[: len(was)] == was, worker_id
                continue
            kept = [event for event in now if event["cursor"] <= was[-1]["cursor"]]
            assert kept == was[: len(kept)], worker_id
            assert len(kept) < len(was)
            assert names(now)[-3:] == ["exit", "status", "end"]
            assert await in_thread(api.get, f"/v1/workers/{worker_id}/transcript")
            async with observing(served, worker_id, was[-1]["cursor"]) as observer:
                assert (await observer.diagnostic())["code"] == "runtime.cursor_unknown_or_expired"
        for worker_id in live:
            assert (await in_thread(api.worker, worker_id))["phase"] == "lost"
    shutil.rmtree(copy)


def inside_appends(segment: Path, through: str) -> list[int]:
    """Places inside the appends up to a cursor: between two a file may just end so."""
    last = decode_cursor(through)
    spans = [(begin, end) for begin, end, seqs in appended_spans(segment) if not seqs or seqs[-1] <= last]
    return [place for begin, end in spans for place in range(begin + 1, end)]


async def test_a_journal_that_is_damaged_in_its_middle_costs_the_reads_that_cross_it(place: Place) -> None:
    with place.serving() as served:
        api = Api(served)
        for worker_id in ("hurt", "whole"):
            await in_thread(api.create, "cat", worker_id=worker_id)
            async with observing(served, worker_id, "earliest", queue_frames=64) as observer:
                for number in range(20):
                    await in_thread(api.say, worker_id, f"line {number}")
                    await observer.until_text(f"line {number}\n")
        before = await in_thread(api.worker, "hurt")
        place.kill()  # So no view is kept that would spare the reading.
    [segment] = (place.worker_dir("hurt") / "events").iterdir()
    data = bytearray(segment.read_bytes())
    data[data.index(b"line 9")] ^= 1
    segment.write_bytes(data)
    for life in range(2):
        with place.serving() as served:
            api = Api(served)
            notes = (await in_thread(api.get, "/v1/diagnostics"))["diagnostics"]
            told = [note for note in notes if note["severity"] != "info"]
            if life == 0:  # Later it is an old segment, which a start does not read.
                assert {(note["worker_ref"]["worker_id"], note["severity"]) for note in told} == {
                    ("hurt", "error")
                }
                assert all(str(segment) in note["message"] for note in told)
            worker = await in_thread(api.worker, "hurt")
            assert (worker["pid"], worker["phase"]) == (before["pid"], "running")
            assert worker["transcript_len"] == life  # The input since; its answer is not closed yet.
            assert await goodbye(served, "hurt", "earliest") == "runtime.unavailable"
            async with observing(served, "hurt", before["head"], queue_frames=64) as observer:
                await in_thread(api.say, "hurt", f"after {life}")
                await observer.until_text(f"after {life}\n")
            async with observing(served, "whole", "earliest", queue_frames=64) as observer:
                await in_thread(api.say, "whole", "after")
                said = await observer.until_text("after\n" * (life + 1))
                assert said.count("\n") == 21 + life
            if life:
                async with observing(served, "hurt") as observer:
                    await in_thread(api.act, "hurt", "stop")
                    assert data_of(await observer.until("end"), "exit")[0]["reason"] == "stopped"
                place.drain()
