"""A driver that fails takes its own worker with it, loudly, and nobody else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import orjson
import pytest

from watchglass.protocol.errors import StatePoisoned
from watchglass.protocol.events import Event, Json
from watchglass.protocol.workers import WorkerInput
from watchglass.runtime import Runtime, open_runtime
from watchglass.runtime.portion import BYTES_FIRST, EVENTS_MAX
from watchglass.runtime.speech.text import TextSpeech
from watchglass.store.memory import open_memory_store

from support.agents import CAT
from support.processes import marked
from support.tasks import soon, until
from support.workers import request_of

pytestmark = pytest.mark.asyncio


class Faulty(TextSpeech):
    """A speech with a bug: it cannot read what has a `!`."""

    def feed(self, offset: int, data: bytes) -> Sequence[Event]:
        assert b"!" not in data, "a bug"
        return super().feed(offset, data)


async def said(runtime: Runtime, worker_id: str) -> list[tuple[str, Json]]:
    """The whole log of an ended worker."""
    told: list[tuple[str, Json]] = []
    async with runtime.observe(worker_id, "earliest") as reader:
        async for record in reader:
            payload = orjson.loads(record.line)["payload"]
            told.append((payload["event"], payload["data"]))
            if payload["event"] == "end":
                break
    return told


def spoken(told: list[tuple[str, Json]]) -> str:
    """Its text, in however many pieces it came."""
    return "".join(data["text"] for name, data in told if name == "text_delta")


async def test_a_driver_that_fails_tells_its_observers_and_kills_its_worker_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("watchglass.runtime.streams.new_speech", lambda _name, *_: Faulty())
    async with open_runtime() as runtime:
        for worker_id in ("broken", "whole"):
            await runtime.create_worker(request_of(worker_id=worker_id, execution=CAT))
        await runtime.send_input("whole", WorkerInput(content="fine"))
        await until(lambda: bool(marked(runtime.runtime_id, "broken")))
        with caplog.at_level(logging.ERROR):
            await runtime.send_input("broken", WorkerInput(content="boom!"))
            told = await soon(said(runtime, "broken"))
        assert not marked(runtime.runtime_id, "broken"), "its room is given back when its tree is empty"
        assert [name for name, _ in told[-5:]] == ["error", "released", "exit", "status", "end"]
        assert told[-5][1] == {"code": "state_poisoned", "message": str(StatePoisoned("broken"))}
        assert "a bug" in caplog.text
        assert runtime.worker("broken").phase == "failed"
        with pytest.raises(StatePoisoned):
            await runtime.send_input("broken", WorkerInput(content="hello?"))
        assert runtime.worker("whole").phase == "running"
        assert (await runtime.stop("whole")).phase == "stopped"
        assert spoken(await soon(said(runtime, "whole"))) == "fine\n"
    assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]


async def test_no_turn_of_a_worker_is_long_however_short_its_lines_are() -> None:
    """Each line is an event, and everybody else waits until all of a turn are written."""
    lines = 60_000
    turns: list[int] = []
    printing = {"program": "sh", "args": ["-c", f"yes | head -n {lines}"]}
    async with open_memory_store() as store, open_runtime(store=store) as runtime:
        store.watch(lambda worker_id, records: turns.append(len(records) if worker_id else 0))
        await runtime.create_worker(request_of(worker_id="chatty", execution=printing, speech="jsonl"))
        await until(lambda: runtime.worker("chatty").phase == "succeeded")
    assert sum(turns) > lines
    assert max(turns) <= max(EVENTS_MAX, BYTES_FIRST // len("y\n"))
