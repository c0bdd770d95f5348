"""A server that is asked to stop: workers end, observers are told, reads work, nothing is left."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import trio

from support.api import Api
from support.feed import data_of, in_thread, names, observing
from support.patience import PATIENCE_S
from support.processes import marked
from support.programs import program
from support.serving import Served, serving

pytestmark = pytest.mark.trio


async def left(server: Served) -> int:
    """The exit code of a server that was asked to stop."""
    return await in_thread(server.process.wait, PATIENCE_S)


async def test_observers_see_every_worker_end_and_then_that_the_runtime_stopped(tmp_path: Path) -> None:
    with serving(tmp_path, "--runtime-id=rt-down", "--grace-ms=300") as server:
        api = Api(server)
        workers = [
            (await in_thread(api.create, *argv))["worker_id"]
            for argv in (program("signals"), program("stubborn"), program("daemon", "stay"), ["cat"])
        ]
        passive = (await in_thread(api.create))["worker_id"]
        told: dict[str, tuple[list[dict[str, object]], dict[str, object]]] = {}
        ready = [trio.Event() for _ in (*workers, passive)]

        async def watch(worker_id: str, joined: trio.Event) -> None:
            async with observing(server, worker_id) as observer:
                await observer.event()
                joined.set()
                told[worker_id] = await observer.farewell()

        async with observing(server, workers[1], "earliest") as observer:
            await observer.until_text("ready\n")
        async with observing(server, workers[2], "earliest") as observer:
            await observer.until_text("\n")
        async with trio.open_nursery() as nursery:
            for worker_id, joined in zip((*workers, passive), ready, strict=True):
                nursery.start_soon(watch, worker_id, joined)
            for joined in ready:
                await joined.wait()
            server.process.send_signal(signal.SIGTERM)
        for worker_id, (envelopes, diagnostic) in told.items():
            assert diagnostic["code"] == "runtime.upstream_closed"
            assert names(envelopes)[-3:] == ["exit", "status", "end"], worker_id
            assert data_of(envelopes, "exit")[0]["asked_because"] == "runtime_stopped"
            assert data_of(envelopes, "status")[-1]["status"] == "stopped"
        assert await left(server) == 0
        assert marked("rt-down") == set()


async def test_a_runtime_that_stops_refuses_changes_and_still_answers_reads(tmp_path: Path) -> None:
    with serving(tmp_path, "--grace-ms=60000") as server:
        api = Api(server)
        worker_id = (await in_thread(api.create, *program("stubborn")))["worker_id"]
        ended = (await in_thread(api.create))["worker_id"]
        await in_thread(api.act, ended, "stop")
        async with observing(server, worker_id, "earliest") as observer:
            await observer.until_text("ready\n")
            server.process.send_signal(signal.SIGTERM)
            await observer.until_true(lambda event: event["payload"]["data"].get("phase") == "stopping")
            path = f"/v1/workers/{worker_id}"
            for method, asked, body in [
                ("POST", "/v1/workers", {}),
                ("POST", f"{path}/input", {"content": "x"}),
                ("POST", f"{path}/interrupt", None),
                ("POST", f"{path}/close-stdin", None),
                ("POST", f"{path}/signal", {"signal": "SIGINT"}),
                ("POST", f"{path}/events", {"events": [{"event": "e"}]}),
                ("DELETE", f"/v1/workers/{ended}", None),
            ]:
                answer = await in_thread(api.request, method, asked, body)
                assert (answer.status, answer.code) == (409, "runtime_stopped"), asked
            again = await in_thread(api.act, ended, "stop")
            assert again["status"] == "stopped"
            assert (await in_thread(api.get, "/v1/runtime"))["runtime"]["status"] == "stopped"
            assert (await in_thread(api.worker, worker_id))["phase"] == "stopping"
            assert (await in_thread(api.get, f"{path}/transcript"))["transcript"]["total_items"] == 0
            assert (await in_thread(api.get, "/healthz"))["status"] == "ok"
            ready = await in_thread(api.request, "GET", "/readyz")
            assert (ready.status, ready.code) == (503, "runtime_stopped")
            async with observing(server, worker_id, "earliest") as late:
                assert names([await late.event() for _ in range(2)]) == ["snapshot", "status"]
                server.process.send_signal(signal.SIGTERM)
                envelopes, diagnostic = await late.farewell()
            assert names(envelopes)[-3:] == ["exit", "status", "end"]
            assert diagnostic["code"] == "runtime.upstream_closed"
            assert (await observer.farewell())[1]["code"] == "runtime.upstream_closed"
        assert await left(server) == 0


@pytest.mark.soak
async def test_an_observer_that_does_not_read_holds_nobody_up(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        api = Api(server)
        worker_id = (await in_thread(api.create, *program("flood", 12 << 20)))["worker_id"]
        async with observing(server, worker_id, "earliest") as stuck:
            async with observing(server, worker_id, "earliest", queue_frames=64) as observer:
                await observer.until("end")
            server.process.send_signal(signal.SIGTERM)
            assert await left(server) == 0
            await stuck.cut()
