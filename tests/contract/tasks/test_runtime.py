"""The runtime in the task contract's words: `/api/v1/runtime/…`, health and metrics."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from datetime import datetime

import watchglass

from support.api import Api, Json
from support.task_face import TaskFace

FLAGS = [
    "--runtime-id=rt-task-runtime",
    "--max-running-tasks=2",
    "--max-queued-tasks=7",
    "--termination-grace-ms=1234",
    "--result-retention-secs=99",
    "--gc-interval-ms=500",
    "--capability-mode=strict",
    "--cgroup-root=/agents",
    "--capacity-memory=host",
    "--capacity-pids=777",
]


def samples(api: Api) -> Mapping[str, float]:
    answer = api.request("GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = [line.rsplit(" ", 1) for line in answer.body.decode().splitlines() if line[0] != "#"]
    return {name: float(value) for name, value in lines}


def test_info_says_who_answers_and_where(api: Api) -> None:
    said = api.get("/api/v1/runtime/info")
    assert (said["runtime_id"], said["version"]) == ("rt-task-runtime", watchglass.__version__)
    assert datetime.fromisoformat(said["started_at"]).utcoffset() is not None
    assert said["snapshot_version"] == "v1" == api.get("/api/v1/runtime/capabilities")["snapshot_version"]
    assert (said["platform"]["os"], said["platform"]["arch"]) == ("linux", platform.machine())
    assert said["platform"]["kubernetes"] is ("KUBERNETES_SERVICE_HOST" in os.environ)


def test_config_says_how_it_is_set_and_nothing_secret(api: Api) -> None:
    said = api.get("/api/v1/runtime/config")
    served = api.served
    assert said == {
        "runtime_id": "rt-task-runtime",
        "listen_addr": f"{served.host}:{served.port}",
        "data_dir": said["data_dir"],
        "max_running_tasks": 2,
        "max_queued_tasks": 7,
        "termination_grace_ms": 1234,
        "result_retention_secs": 99,
        "gc_interval_ms": 500,
        "dispatch_poll_interval_ms": 0,
        "cgroup_root": "/agents",
        "default_capability_mode": "strict",
        "cgroup_enabled": True,
    }
    assert served.token not in str(said)


def test_capabilities_are_told_field_by_field(api: Api) -> None:
    said = api.get("/api/v1/runtime/capabilities")
    assert set(said) == {
        "runtime_id", "snapshot_version", "collected_at", "platform", "execution", "sandbox", "storage",
        "resources", "stable_semantics", "enhanced_semantics", "warnings", "degraded", "overrides",
    }  # fmt: skip
    assert said["execution"] == {"command": True, "script": True, "process_group": True}
    assert set(said["sandbox"]) == {"process", "linux_sandbox", "chroot", "namespaces"}
    assert said["sandbox"]["process"] is True
    assert set(said["sandbox"]["namespaces"]) == {"mount", "pid", "uts", "ipc", "net"}
    assert said["storage"] == {"data_dir_writable": True}
    assert set(said["resources"]) == {
        "rlimit_cpu", "rlimit_memory", "cgroup_v2", "cgroup_writable", "memory_limit", "pids_limit",
        "oom_detection", "cpu_quota", "ledger", "capacity",
    }  # fmt: skip
    assert said["resources"]["ledger"] is True
    found = api.get("/v1/runtime/capabilities")["capabilities"]
    assert said["resources"]["capacity"] == {
        "task_slots": 2,
        "memory_bytes": found["memory_capacity_bytes"],
        "pids": 777,
    }
    assert found["memory_capacity_bytes"] > 0
    assert "not probed" not in str(said) + str(found)
    assert said["stable_semantics"]
    if said["degraded"]:
        assert said["warnings"]
    assert said["overrides"] == {
        "cgroup_root": "/agents",
        "capacity_pids": "777",
    }  # Memory is as it was found.


def sums_hold(said: Json) -> bool:
    for name in ("task_slots", "memory_bytes", "pids"):
        held = sum(each["reservation"][name] or 0 for each in said["active_reservations"])
        if (said["reserved"][name] or 0) != held:
            return False
        if said["capacity"][name] is not None:
            assert said["available"][name] == said["capacity"][name] - held
    return True


def test_resources_are_the_sum_of_what_is_held(api: Api, tasks: TaskFace) -> None:
    said = api.get("/api/v1/runtime/resources")
    assert said["capacity"]["task_slots"] == 2
    held = [tasks.sh("echo up; sleep 60", control_context={"tenant": "blue"}) for _ in range(2)]
    for task_id in held:
        tasks.wait_running(task_id)
    waiting = tasks.submit("true")
    said = api.get("/api/v1/runtime/resources")
    assert [each["task_id"] for each in said["active_reservations"]] == held
    assert {each["status"] for each in said["active_reservations"]} == {"running"}
    assert all(datetime.fromisoformat(each["reserved_at"]) for each in said["active_reservations"])
    assert (said["available"]["task_slots"], said["accepted_waiting_tasks"]) == (0, 1)
    assert sums_hold(said)
    [blue] = [each for each in said["tenants"] if each["tenant"] == "blue"]
    assert (blue["reserved"]["task_slots"], blue["quota"]) == (2, None)
    for task_id in held:
        tasks.kill(task_id)
    tasks.finished(waiting)
    said = api.get("/api/v1/runtime/resources")
    assert (said["active_reservations"], said["reserved"]["task_slots"]) == ([], 0)


def test_health_has_the_contracts_shape(api: Api) -> None:
    version = watchglass.__version__
    assert api.get("/healthz") == {"status": "ok", "version": version}
    assert api.get("/readyz") == {"status": "ready", "version": version}


def test_metrics_count_tasks_in_the_contracts_names(api: Api, tasks: TaskFace) -> None:
    before = samples(api)
    tasks.ran("true")
    tasks.ran("exit 3")
    running = tasks.sh("echo up; sleep 60")
    tasks.wait_running(running)
    during = samples(api)
    tasks.kill(running)
    after = samples(api)

    def grew(name: str) -> float:
        return after[name] - before[name]

    assert grew('execgo_runtime_tasks_total{status="accepted"}') == 3
    assert grew('execgo_runtime_tasks_total{status="success"}') == 1
    assert grew('execgo_runtime_tasks_total{status="failed"}') == 1
    assert grew('execgo_runtime_tasks_total{status="cancelled"}') == 1
    assert grew('execgo_runtime_task_errors_total{code="exit_non_zero"}') == 1
    assert grew('execgo_runtime_task_errors_total{code="cancelled"}') == 1
    assert (during["execgo_runtime_tasks_running"], after["execgo_runtime_tasks_running"]) == (1, 0)
    assert grew("execgo_runtime_task_duration_ms_count") == 3
    assert grew('execgo_runtime_task_duration_ms_bucket{le="+Inf"}') == 3
    assert grew("execgo_runtime_task_duration_ms_sum") >= 0
    assert grew("watchglass_workers_created_total") == 3


def test_buckets_only_grow(api: Api) -> None:
    counts = [
        value
        for name, value in samples(api).items()
        if re.match(r"execgo_runtime_task_duration_ms_bucket", name)
    ]
    assert counts == sorted(counts)
