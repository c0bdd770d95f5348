"""A drain over HTTP does what Ctrl-C does, and says so while it lasts."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.api import Api
from support.feed import data_of, in_thread, names, observing
from support.patience import PATIENCE_S
from support.processes import marked
from support.programs import program
from support.serving import serving

pytestmark = pytest.mark.trio

DRAIN = "/v1/runtime/drain"


async def test_a_drain_ends_every_worker_and_the_server(tmp_path: Path) -> None:
    with serving(tmp_path, "--runtime-id=rt-drain", "--grace-ms=300") as server:
        api = Api(server)
        for argv in (["cat"], program("daemon", "stay"), ["sh", "-c", "sleep 600 & sleep 600"]):
            await in_thread(api.create, *argv)
        worker_id = (await in_thread(api.create, *program("stubborn")))["worker_id"]
        async with observing(server, worker_id, "earliest") as observer:
            await observer.until_text("ready\n")
            answer = await in_thread(api.request, "POST", DRAIN, {"reason": "a new machine"})
            assert answer.status == 202
            assert answer.json["runtime"]["runtime_id"] == "rt-drain"
            envelopes, diagnostic = await observer.farewell()
        assert names(envelopes)[-3:] == ["exit", "status", "end"]
        assert data_of(envelopes, "exit")[0]["asked_because"] == "runtime_stopped"
        assert diagnostic["code"] == "runtime.upstream_closed"
        assert await in_thread(server.process.wait, PATIENCE_S) == 0
        assert marked("rt-drain") == set()
        assert server.stderr.count("\n") == 1


async def test_from_the_answer_on_changes_are_refused_and_reads_are_answered(tmp_path: Path) -> None:
    with serving(tmp_path, "--grace-ms=60000") as server:
        api = Api(server)
        worker_id = (await in_thread(api.create, *program("stubborn")))["worker_id"]
        async with observing(server, worker_id, "earliest") as observer:
            await observer.until_text("ready\n")
        for _ in range(2):  # Asking again changes nothing, and does not hurry.
            answer = await in_thread(api.request, "POST", DRAIN)
            assert answer.status == 202
            refused = await in_thread(api.request, "POST", "/v1/workers", {})
            assert (refused.status, refused.code) == (409, "runtime_stopped")
            now = (await in_thread(api.get, "/v1/runtime"))["runtime"]
            assert (now["status"], now["active_worker_count"]) == ("stopped", 1)
        assert (await in_thread(api.worker, worker_id))["phase"] == "stopping"
        await in_thread(server.process.terminate)  # A signal does hurry.
        assert await in_thread(server.process.wait, PATIENCE_S) == 0


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "invalid_json"),
        ({"reason": 3}, "invalid_request"),
        ({"reason": "x" * 70_000}, "invalid_request"),
    ],
    ids=["json", "type", "length"],
)
async def test_a_drain_that_is_not_understood_drains_nothing(tmp_path: Path, body: object, code: str) -> None:
    with serving(tmp_path) as server:
        api = Api(server)
        refused = await in_thread(api.request, "POST", DRAIN, body)
        assert (refused.status, refused.code) == (400, code)
        nobody = await in_thread(api.request, "POST", DRAIN, headers={"Authorization": ""})
        assert nobody.status == 401
        assert (await in_thread(api.get, "/v1/runtime"))["runtime"]["status"] == "running"
