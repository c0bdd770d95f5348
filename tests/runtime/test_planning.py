"""What was planned is what a worker gets: planned again when the host changed, checked after the start."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from watchglass.protocol.execution import ExecutionPlan
from watchglass.protocol.tasks import SubmitTaskRequest
from watchglass.runtime import Runtime, RuntimeOptions, open_runtime
from watchglass.runtime.capabilities import HostCapabilities
from watchglass.runtime.executor import Executor, LaunchPlan, Verified
from watchglass.runtime.policy import Shortfall
from watchglass.store.filesystem import open_filesystem_store

from support.agents import CAT
from support.hosts import EVERYTHING, NOTHING
from support.patience import PATIENCE_S
from support.tasks import soon
from support.workers import request_of

pytestmark = pytest.mark.asyncio

STRICT = {"capability_mode": "strict"}
BOUNDED = {"pids_max": 50}


async def said(runtime: Runtime, worker_id: str, until: str = "end") -> list[tuple[str, Any]]:
    """The log of a worker up to an event of this name."""
    told: list[tuple[str, Any]] = []
    async with runtime.observe(worker_id, "earliest") as reader:
        async for record in reader:
            payload = orjson.loads(record.line)["payload"]
            told.append((payload["event"], payload["data"]))
            if payload["event"] == until:
                break
    return told


def of(told: list[tuple[str, Any]], name: str) -> list[Any]:
    return [data for each, data in told if each == name]


def probing(monkeypatch: pytest.MonkeyPatch, *hosts: HostCapabilities) -> None:
    """Probes that find these, one after the other."""
    left = iter(hosts)

    async def probe(_executor: Executor) -> HostCapabilities:
        return next(left)

    monkeypatch.setattr(Executor, "probe", probe)


async def test_the_plan_follows_the_first_status_of_a_worker_that_has_one() -> None:
    async with open_runtime() as runtime:
        worker = await runtime.create_worker(request_of(execution=CAT, initial_input={"content": "hello"}))
        await runtime.stop(worker.worker_id)
        told = await soon(said(runtime, worker.worker_id))
        assert [name for name, _ in told[:3]] == ["status", "execution_plan", "user_message"]
        assert worker.execution_plan is not None
        assert told[1][1] == worker.execution_plan.model_dump(mode="json")
        passive = await runtime.create_worker(request_of())
        await runtime.stop(passive.worker_id)
        assert of(await soon(said(runtime, passive.worker_id)), "execution_plan") == []


async def test_a_worker_that_waited_is_planned_again_when_the_host_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    probing(monkeypatch, EVERYTHING, NOTHING)
    async with open_runtime(RuntimeOptions(running_workers_max=1)) as runtime:
        first = await runtime.create_worker(request_of(execution=CAT))
        for worker_id, policy in (("strict", STRICT), ("adaptive", {})):
            asked = request_of(worker_id=worker_id, execution=CAT, limits=BOUNDED, policy=policy)
            planned = (await runtime.create_worker(asked)).execution_plan
            assert planned is not None
            assert not planned.degraded
        await runtime.probe()
        await runtime.stop(first.worker_id)

        refused = await soon(said(runtime, "strict"))
        assert runtime.worker("strict").phase == "failed"
        assert of(refused, "exit")[0]["reason"] == "unsupported_capability"
        assert "limits.pids_max" in of(refused, "error")[0]["message"]
        assert "less would not do" in runtime.explain("strict").summary

        running = await soon(said(runtime, "adaptive", until="execution_plan"))
        assert of(running, "execution_plan")[0]["degraded"] is False
        await runtime.stop("adaptive")
        plans = of(await soon(said(runtime, "adaptive")), "execution_plan")
        assert [plan["degraded"] for plan in plans] == [False, True]
        now = runtime.worker("adaptive").execution_plan
        assert now is not None
        assert now.model_dump(mode="json") == plans[-1]


def _not_filtered(_plan: ExecutionPlan, _launch: LaunchPlan, _found: Verified) -> Iterator[Shortfall]:
    yield Shortfall("sandbox.seccomp", "no filter of system calls is loaded")


async def test_a_worker_that_waited_keeps_its_plan_when_the_host_was_only_looked_at_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    probing(monkeypatch, EVERYTHING, replace(EVERYTHING, collected_at_us=EVERYTHING.collected_at_us + 1))
    async with open_runtime(RuntimeOptions(running_workers_max=1)) as runtime:
        first = await runtime.create_worker(request_of(execution=CAT))
        waiting = await runtime.create_worker(request_of(execution=CAT, limits=BOUNDED))
        await runtime.probe()
        await runtime.stop(first.worker_id)
        await soon(said(runtime, waiting.worker_id, until="reserved"))
        await runtime.stop(waiting.worker_id)
        assert len(of(await soon(said(runtime, waiting.worker_id)), "execution_plan")) == 1
        assert runtime.worker(waiting.worker_id).execution_plan == waiting.execution_plan


async def test_a_task_that_the_host_cannot_give_any_more_what_it_was_promised_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    probing(monkeypatch, EVERYTHING, NOTHING)
    async with open_runtime(RuntimeOptions(running_workers_max=1)) as runtime:
        first = await runtime.create_worker(request_of(execution=CAT))
        asked = {"task_id": "strict", "execution": CAT, "limits": BOUNDED, "policy": STRICT}
        await runtime.tasks.submit(SubmitTaskRequest.model_validate(asked))
        await runtime.probe()
        await runtime.stop(first.worker_id)
        final = await soon(runtime.tasks.status("strict", wait_s=PATIENCE_S))
        assert (final.status, final.error and final.error.code) == ("failed", "unsupported_capability")
        assert final.error is not None
        assert final.error.message.startswith("limits.pids_max: ")


async def test_strict_kills_what_does_not_bear_its_plan_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("watchglass.runtime.starting.shortfalls", _not_filtered)
    async with open_runtime() as runtime:
        worker = await runtime.create_worker(request_of(execution=CAT, policy=STRICT))
        told = await soon(said(runtime, worker.worker_id))
        assert "sandbox.seccomp" in of(told, "alert")[0]["message"]
        assert of(told, "error")[0]["code"] == "unsupported_capability"
        assert "sandbox.seccomp" in of(told, "error")[0]["message"]
        assert of(told, "exit") == [{"code": None, "signal": 9, "reason": "unsupported_capability"}]
        assert runtime.worker(worker.worker_id).phase == "failed"


async def test_adaptive_tells_it_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("watchglass.runtime.starting.shortfalls", _not_filtered)
    async with open_runtime() as runtime:
        worker = await runtime.create_worker(request_of(execution=CAT))
        told = await soon(said(runtime, worker.worker_id, until="alert"))
        assert "sandbox.seccomp is planned and not in force" in told[-1][1]["message"]
        assert runtime.worker(worker.worker_id).phase == "running"


async def test_a_sandboxed_worker_gets_what_its_plan_says() -> None:
    async with open_runtime() as runtime:
        if not runtime.capabilities.sandbox.linux_sandbox:
            pytest.skip(str(runtime.capabilities.sandbox.linux_sandbox.reason))
        script = 'pwd; cat /proc/self/status; test -e /home || echo "no home"; cat "$0"\n'
        asked = {"execution": {"kind": "script", "script": script}, "sandbox": {"profile": "linux_sandbox"}}
        worker = await runtime.create_worker(request_of(**asked))
        told = await soon(said(runtime, worker.worker_id))
        assert of(told, "exit") == [{"code": 0, "signal": None, "reason": "exited"}]
        text = "".join(piece["text"] for piece in of(told, "text_delta"))
        assert text.startswith("/workspace\n")
        assert "Seccomp:\t2\n" in text
        assert "CapEff:\t0000000000000000\n" in text
        assert "no home\n" in text
        assert text.endswith(script)
        assert of(told, "alert") == []


async def test_a_restricted_worker_reaches_its_own_below_closed_folders_and_links(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    (closed / "store").mkdir(parents=True, mode=0o700)
    closed.chmod(0o700)
    (closed / "link").symlink_to(closed / "store")
    script = 'echo kept > file && cat "$HOME/file" "$0"'
    asked = {"execution": {"kind": "script", "script": script}, "sandbox": {"filesystem": "restricted"}}
    async with open_filesystem_store(closed / "link") as store, open_runtime(None, store) as runtime:
        worker = await runtime.create_worker(request_of(**asked))
        told = await soon(said(runtime, worker.worker_id))
        assert of(told, "exit") == [{"code": 0, "signal": None, "reason": "exited"}]
        assert "".join(piece["text"] for piece in of(told, "text_delta")) == f"kept\n{script}"
