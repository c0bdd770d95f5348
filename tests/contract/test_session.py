"""A session on a real server, seen by trio-websocket: exact over cuts and `kill -9`, nothing asked twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from support.backend import Backend, Json, session
from support.serving import Place, durable_server

pytestmark = pytest.mark.trio


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with durable_server(tmp_path, runtime_id="rt-session") as place:
        yield place


class Reading:
    """What one subscription was told, over any number of sessions."""

    def __init__(self, worker_id: str) -> None:
        self.worker_id = worker_id
        self.cursor = "earliest"
        self.envelopes: list[Json] = []
        self.prev: str | None = None

    async def subscribe(self, backend: Backend) -> None:
        self.prev = None
        await backend.say(
            kind="subscribe",
            id=self.worker_id,
            worker_id=self.worker_id,
            cursor=self.cursor,
            snapshot="none",
        )

    def take(self, frame: Json) -> None:
        assert frame["worker_id"] == self.worker_id
        if frame["kind"] == "hello":
            self.prev = frame["resumed_from"]
        for envelope in frame.get("envelopes", []):
            assert envelope["worker_id"] == self.worker_id
            assert envelope["prev"] == self.prev
            self.prev = self.cursor = envelope["cursor"]
            self.envelopes.append(envelope)

    @property
    def inputs(self) -> list[str]:
        return [
            "".join(each["content"] for each in envelope["payload"]["data"]["segments"])
            for envelope in self.envelopes
            if envelope["payload"]["event"] == "user_message"
        ]


async def test_what_was_acknowledged_is_there_once_and_readers_go_on_after_kill_9(place: Place) -> None:
    workers = [f"w{number}" for number in range(8)]
    readings = {worker_id: Reading(worker_id) for worker_id in workers}
    acknowledged: dict[str, list[str]] = {worker_id: [] for worker_id in workers}
    sent: dict[str, list[str]] = {worker_id: [] for worker_id in workers}
    with place.serving() as served:
        async with session(served) as backend:
            for worker_id in workers:
                assert (await backend.ask("workers.create", worker_id=worker_id))["status"] == 200
            for reading in readings.values():
                await reading.subscribe(backend)
            for number in range(400):
                worker_id = workers[number % 8]
                said = f"input {number}"
                sent[worker_id].append(said)
                await backend.say(
                    kind="request",
                    id=f"{worker_id} {said}",
                    method="workers.input",
                    params={"worker_id": worker_id, "content": said},
                )
            answered = 0
            async for frame in backend.frames():
                if "subscription" in frame:
                    readings[frame["subscription"]].take(frame)
                elif " " in frame["id"]:
                    worker_id, _, said = frame["id"].partition(" ")
                    assert frame["status"] == 200
                    acknowledged[worker_id].append(said)
                    answered += 1
                    if answered == 200:
                        place.kill()
            assert answered >= 200
    with place.serving() as served:
        async with session(served) as backend:
            for reading in readings.values():
                await reading.subscribe(backend)
            synced = 0
            while synced < len(workers):
                frame = await backend.frame()
                synced += frame["kind"] == "sync"
                if "subscription" in frame:
                    readings[frame["subscription"]].take(frame)
            for worker_id, reading in readings.items():
                inputs = reading.inputs
                assert len(set(inputs)) == len(inputs)
                assert inputs == sent[worker_id][: len(inputs)]
                assert set(acknowledged[worker_id]) <= set(inputs)
                said = (await backend.ask("workers.transcript", worker_id=worker_id))["result"]
                assert [item["content"] for item in said["transcript"]["items"]] == inputs


async def test_a_reader_that_is_cut_anywhere_goes_on_without_a_gap(place: Place) -> None:
    events = [{"event": "mark", "data": {"n": number}} for number in range(3000)]
    reading = Reading("w")
    with place.serving() as served:
        async with session(served) as backend:
            await backend.ask("workers.create", worker_id="w")
            for begin in range(0, 3000, 500):
                await backend.ask("workers.append_events", worker_id="w", events=events[begin : begin + 500])
        synced = False
        while not synced:
            async with session(served) as backend:
                await reading.subscribe(backend)
                batches = 0
                while batches < 2 and not synced:  # Then the connection is left in the middle.
                    frame = await backend.frame()
                    synced = frame["kind"] == "sync"
                    if "subscription" in frame:
                        reading.take(frame)
                        batches += frame["kind"] == "events"
    marks = [
        envelope["payload"]["data"]["n"]
        for envelope in reading.envelopes
        if envelope["payload"]["event"] == "mark"
    ]
    assert marks == list(range(3000))


async def test_a_drain_over_the_session_ends_workers_and_then_says_goodbye(place: Place) -> None:
    with place.serving() as served:
        async with session(served) as backend:
            await backend.ask("workers.create", worker_id="w")
            await backend.say(kind="subscribe", id="w", worker_id="w")
            await backend.say(kind="request", id="drain", method="runtime.drain", params={"reason": "test"})
            told = [frame async for frame in backend.frames()]
            closed = backend.connection.closed
        assert next(frame for frame in told if frame.get("id") == "drain")["status"] == 202
        assert any(frame["kind"] == "end" for frame in told)
        assert told[-1]["code"] == "runtime.upstream_closed"
        assert told[-1]["retry_after_ms"] >= 250
        assert closed is not None
        assert closed.code == 1012
        assert await trio.to_thread.run_sync(served.process.wait) == 0


async def test_what_a_session_has_not_is_told_apart_from_what_there_is_not(place: Place) -> None:
    with place.serving() as served:
        async with session(served) as backend:
            absent = await backend.ask("workers.logs", worker_id="w")
            assert (absent["status"], absent["error"]["code"]) == (405, "not_on_session")
            assert "/v1/workers/{worker_id}/logs/{stream}" in absent["error"]["message"]
            unknown = await backend.ask("workers.dance")
            assert (unknown["status"], unknown["error"]["code"]) == (404, "unknown_method")
