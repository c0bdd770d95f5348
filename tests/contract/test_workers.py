"""Workers that behave, and workers that do not: real processes, seen from outside."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import pytest
import trio

from support.api import Api
from support.feed import data_of, in_thread, journal, names, observing, text_of
from support.processes import marked, pids, wait_gone
from support.programs import program
from support.serving import Served

pytestmark = pytest.mark.trio

FLAGS = ["--runtime-id=rt-workers", "--grace-ms=1500"]


async def create(served: Served, *argv: str, **request: Any) -> str:
    return str((await in_thread(Api(served).create, *argv, **request))["worker_id"])


async def test_a_worker_that_exits_at_once_is_created_and_then_ended(served: Served) -> None:
    api = Api(served)
    for argv, phase, code in [(["true"], "succeeded", 0), (["false"], "failed", 1)]:
        worker_id = await create(served, *argv)
        await journal(served, worker_id)
        worker = await in_thread(api.worker, worker_id)
        assert (worker["status"], worker["phase"]) == ("stopped", phase)
        assert worker["exit"] == {"code": code, "signal": None, "reason": "exited"}
        assert worker["finished_at"] >= worker["started_at"] >= worker["created_at"]


async def test_an_exit_with_code_137_is_not_a_death_by_sigkill(served: Served) -> None:
    exits = []
    for command in ("exit 137", "kill -KILL $$", "kill -TERM $$"):
        worker_id = await create(served, "sh", "-c", command)
        exits += data_of(await journal(served, worker_id), "exit")
    assert exits == [
        {"code": 137, "signal": None, "reason": "exited"},
        {"code": None, "signal": 9, "reason": "signalled"},
        {"code": None, "signal": 15, "reason": "signalled"},
    ]


async def test_a_stop_is_told_in_the_journal_with_its_reason(served: Served) -> None:
    api = Api(served)
    worker_id = await create(served, *program("signals"))
    async with observing(served, worker_id, "earliest") as observer:
        await observer.until_text("ready\n")
        ack = await in_thread(api.act, worker_id, "stop", {"reason": "lunch"})
        ended = await observer.until("end")
    assert (ack["status"], ack["phase"], ack["event_id"]) == ("stopped", "stopped", ended[-1]["cursor"])
    assert [data["phase"] for data in data_of(ended, "status")] == ["stopping", "stopped"]
    assert data_of(ended, "exit") == [
        {"code": 3, "signal": None, "reason": "stopped", "asked_because": "lunch"}
    ]
    assert "SIGTERM" in text_of(ended)


async def test_a_worker_that_ignores_sigterm_is_killed_after_the_grace(served: Served) -> None:
    api = Api(served)
    worker_id = await create(served, *program("stubborn"))
    async with observing(served, worker_id, "earliest") as observer:
        await observer.until_text("ready\n")
        ack = await in_thread(api.act, worker_id, "stop")
        ended = await observer.until("end")
    assert (ack["status"], ack["phase"]) == ("stopped", "stopped")
    assert data_of(ended, "exit") == [{"code": None, "signal": 9, "reason": "stopped"}]
    usage = (await in_thread(api.worker, worker_id))["usage"]
    assert usage["duration_ms"] >= 1500
    assert marked("rt-workers", worker_id) == set()


async def test_a_cancel_kills_at_once(served: Served) -> None:
    api = Api(served)
    worker_id = await create(served, *program("signals"))
    async with observing(served, worker_id, "earliest") as observer:
        await observer.until_text("ready\n")
        ack = await in_thread(api.act, worker_id, "cancel")
        ended = await observer.until("end")
    assert (ack["status"], ack["phase"]) == ("cancelled", "cancelled")
    assert data_of(ended, "exit") == [{"code": None, "signal": 9, "reason": "cancelled"}]
    assert "SIGTERM" not in text_of(ended)


async def test_a_cancel_hastens_a_stop(served: Served) -> None:
    api = Api(served)
    worker_id = await create(served, *program("stubborn"))
    async with observing(served, worker_id, "earliest") as observer:
        await observer.until_text("ready\n")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(in_thread, api.act, worker_id, "stop")
            await observer.until_true(lambda envelope: envelope["payload"]["data"].get("phase") == "stopping")
            ack = await in_thread(api.act, worker_id, "cancel")
    assert ack["phase"] == "cancelled"


@pytest.mark.parametrize("end", ["exit", "stop", "cancel"])
async def test_a_daemon_with_a_session_of_its_own_ends_with_its_worker(served: Served, end: str) -> None:
    api = Api(served)
    worker_id = await create(served, *program("daemon", *(["stay"] if end != "exit" else [])))
    async with observing(served, worker_id, "earliest") as observer:
        daemon = int(await observer.until_text("\n"))
        if end != "exit":
            assert daemon in marked("rt-workers", worker_id)
            await in_thread(api.act, worker_id, end)
        ended = await observer.until("end")
        assert daemon not in pids()
        assert marked("rt-workers", worker_id) == set()
    assert len(data_of(ended, "exit")) == 1


async def test_a_worker_over_its_wall_time_is_ended_with_reason_timeout(served: Served) -> None:
    worker_id = await create(served, "sleep", "600", limits={"wall_time_ms": 200})
    ended = await journal(served, worker_id)
    assert data_of(ended, "exit") == [{"code": None, "signal": 15, "reason": "timeout"}]
    worker = await in_thread(Api(served).worker, worker_id)
    assert (worker["status"], worker["phase"]) == ("stopped", "failed")


async def test_signals_reach_the_worker(served: Served) -> None:
    api = Api(served)
    worker_id = await create(served, *program("signals"))
    async with observing(served, worker_id, "earliest") as observer:
        await observer.until_text("ready\n")
        ack = await in_thread(api.act, worker_id, "interrupt")
        assert set(ack) == {"worker_ref", "status", "event_id", "phase"}
        assert ack["phase"] == "running"
        await observer.until_text("SIGINT\n")
        for name in ("SIGUSR1", "usr1", "SIGWINCH"):
            await in_thread(api.act, worker_id, "signal", {"signal": name})
            await observer.until_text("SIGWINCH\n" if name == "SIGWINCH" else "SIGUSR1\n")
        await in_thread(api.act, worker_id, "close-stdin")
        await observer.until_text("end of input\n")
        answer = await in_thread(
            api.request, "POST", f"/v1/workers/{worker_id}/input", {"content": "too late"}
        )
        assert (answer.status, answer.code) == (400, "invalid_request")
        await in_thread(api.act, worker_id, "close-stdin")
        await in_thread(api.act, worker_id, "signal", {"signal": "TERM"})
        ended = await observer.until("end")
    assert data_of(ended, "exit") == [{"code": 3, "signal": None, "reason": "exited"}]


async def test_a_worker_sees_nothing_of_the_servers_environment(served: Served) -> None:
    worker_id = await create(
        served, "env", execution={"env": {"MINE": "1", "LANG": "de_DE.UTF-8", "EMPTY": ""}}
    )
    said = text_of(await journal(served, worker_id))
    environment = dict(line.split("=", 1) for line in said.splitlines())
    assert set(environment) == {"HOME", "PATH", "LANG", "MINE", "EMPTY", "WATCHGLASS_WORKER"}
    assert environment["MINE"] == "1"
    assert environment["LANG"] == "de_DE.UTF-8"
    assert environment["WATCHGLASS_WORKER"] == f"rt-workers/{worker_id}"
    assert environment["HOME"].endswith("/workspace")


async def test_the_cookie_of_a_worker_cannot_be_chosen_by_its_creator(served: Served) -> None:
    forged = {"WATCHGLASS_WORKER": "rt-workers/somebody-else"}
    worker_id = await create(served, "env", execution={"env": forged})
    assert f"WATCHGLASS_WORKER=rt-workers/{worker_id}\n" in text_of(await journal(served, worker_id))


SHOW_PLACE = (
    "import json, os, resource, signal\n"
    "status = dict(line.split(':', 1) for line in open('/proc/self/status'))\n"
    "mask = os.umask(0)\n"
    "print(json.dumps({'cwd': os.getcwd(), 'home': os.environ['HOME'], 'umask': mask,\n"
    "  'fds': sorted(int(fd) for fd in os.listdir('/proc/self/fd'))[:3],\n"
    "  'open': len(os.listdir('/proc/self/fd')),\n"
    "  'leads': os.getsid(0) == os.getpgid(0) == os.getpid(),\n"
    "  'ignored': status['SigIgn'].strip(), 'blocked': status['SigBlk'].strip(),\n"
    "  'no_new_privs': status['NoNewPrivs'].strip(),\n"
    "  'core': resource.getrlimit(resource.RLIMIT_CORE)}))\n"
)


async def test_a_worker_starts_in_a_clean_place_of_its_own(served: Served) -> None:
    python, *flags, _ = program("x")
    worker_id = await create(served, python, *flags, "-c", SHOW_PLACE)
    place = json.loads(text_of(await journal(served, worker_id)))
    assert place["cwd"] == place["home"]
    assert place["umask"] == 0o077
    assert place["fds"] == [0, 1, 2]
    assert place["open"] == 4  # And the folder that was being listed.
    assert place["leads"] is True
    assert int(place["blocked"], 16) == 0
    python_ignores = (1 << (signal.SIGPIPE - 1)) | (1 << (signal.SIGXFSZ - 1))
    glibc_keeps = (1 << (32 - 1)) | (1 << (33 - 1))  # Its posix_spawn(3) has them ignored in the child.
    assert int(place["ignored"], 16) & ~(python_ignores | glibc_keeps) == 0
    assert place["no_new_privs"] == "1"
    assert place["core"] == [0, 0]


async def test_a_worker_runs_where_it_was_asked_to(served: Served) -> None:
    worker_id = await create(served, "pwd", execution={"cwd": "/usr/lib"})
    assert text_of(await journal(served, worker_id)) == "/usr/lib\n"


async def test_a_script_runs_by_its_interpreter(served: Served) -> None:
    api = Api(served)
    scripts = [
        {"kind": "script", "script": 'echo "$0" >&2\necho "one $1"\n', "args": ["two"]},
        {"kind": "script", "script": "print(6 * 7)\n", "interpreter": [program("x")[0], "-I"]},
    ]
    said = []
    for execution in scripts:
        worker = (await in_thread(api.post, "/v1/workers", {"execution": execution}))["worker"]
        said.append(text_of(await journal(served, worker["worker_id"])))
    assert said == ["one two\n", "42\n"]


async def test_adaptive_runs_without_what_it_cannot_give_and_says_so(served: Served) -> None:
    api = Api(served)
    worker = await in_thread(
        api.create,
        "true",
        limits={"memory_bytes": 1 << 30},
        sandbox={"rootfs": "/srv/root", "namespaces": {"uts": False, "ipc": False}},
    )
    plan = worker["execution_plan"]
    assert plan["degraded"] is True
    assert plan["requested_sandbox"]["rootfs"] == "/srv/root"
    assert plan["effective_sandbox"]["rootfs"] is None
    assert plan["resource_enforcement"]["memory_enforced"] is True
    told = {reason.partition(":")[0] for reason in plan["fallback_reasons"]}
    assert told >= {"sandbox.rootfs", "sandbox.namespaces.mount", "sandbox.namespaces.pid"}
    assert "sandbox.namespaces.uts" not in told


async def test_strict_gives_what_it_promises_or_refuses(served: Served) -> None:
    api = Api(served)
    told = (await in_thread(api.get, "/v1/runtime/capabilities"))["capabilities"]
    python, *flags, _ = program("x")
    asked = {
        "policy": {"capability_mode": "strict"},
        "limits": {"memory_bytes": 256 << 20},
        "execution": {"program": python, "args": [*flags, "-c", "bytearray(1 << 30)"]},
    }
    answer = await in_thread(api.request, "POST", "/v1/workers", asked)
    if not told["limits"]["memory"]["available"]:
        assert answer.code == "unsupported_capability"
        return
    worker = answer.json["worker"]
    assert worker["execution_plan"]["degraded"] is False
    [ended] = data_of(await journal(served, worker["worker_id"]), "exit")
    assert ended["reason"] == "memory_limit_exceeded"


async def test_cpu_time_is_bounded(served: Served) -> None:
    python, *flags, _ = program("x")
    worker_id = await create(served, python, *flags, "-c", "while True: pass", limits={"cpu_time_sec": 1})
    ended = await journal(served, worker_id)
    assert data_of(ended, "exit") == [
        {"code": None, "signal": signal.SIGXCPU, "reason": "cpu_limit_exceeded"}
    ]


async def test_an_ended_worker_leaves_no_process(served: Served) -> None:
    api = Api(served)
    worker = await in_thread(api.create, "sh", "-c", "sleep 600 & sleep 600 & cat")
    await in_thread(api.act, worker["worker_id"], "stop")
    assert marked("rt-workers", worker["worker_id"]) == set()
    wait_gone(worker["pid"])
    with pytest.raises(ProcessLookupError):
        os.kill(worker["pid"], 0)


async def test_a_failed_launch_leaves_nothing(served: Served) -> None:
    api = Api(served)
    before = await in_thread(api.get, "/v1/runtime")
    answer = await in_thread(
        api.request,
        "POST",
        "/v1/workers",
        {"worker_id": "gone", "execution": {"program": "/no/such/program"}},
    )
    assert answer.code == "launch_failed"
    after = await in_thread(api.get, "/v1/runtime")
    for counted in ("worker_count", "active_worker_count", "diagnostic_count", "reserved"):
        assert after["runtime"][counted] == before["runtime"][counted]
    events = (await in_thread(api.get, "/v1/events/batch"))["events"]
    assert not [event for event in events if (event["worker_ref"] or {}).get("worker_id") == "gone"]
    assert marked("rt-workers", "gone") == set()


async def test_an_agent_of_speech_jsonl_speaks_in_events(served: Served) -> None:
    api = Api(served)
    worker_id = await create(served, *program("agent"), speech="jsonl")
    async with observing(served, worker_id, "latest") as observer:
        await observer.event()
        await in_thread(api.say, worker_id, 'hi "there"\n\u2028')
        turn = await observer.until("turn_end")
    assert names(turn) == ["user_message", "turn_start", "text_delta", "text_done", "mood", "turn_end"]
    assert data_of(turn, "mood") == [{"colour": "blue"}]
    transcript = (await in_thread(api.get, f"/v1/workers/{worker_id}/transcript"))["transcript"]
    assert [(item["role"], item["content"]) for item in transcript["items"]] == [
        ("user", 'hi "there"\n\u2028'),
        ("assistant", 'HI "THERE"\n\u2028'),
    ]
    await in_thread(api.act, worker_id, "stop")
