"""What serve is told, and how it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from watchglass.protocol.runtime import RuntimeLimits
from watchglass.server.config import DiskStore, serve_config
from watchglass.server.flags import ServeFlags
from watchglass.store.base import Retention

from support.refusals import refusal

TOKEN = "s3cret-s3cret"


def test_without_options_it_is_loopback_any_port_files_and_the_local_token() -> None:
    config = serve_config(ServeFlags(), {"WATCHGLASS_STATE_DIR": "/state"})
    assert (config.host, config.port, config.auth, config.token, config.token_file) == (
        "127.0.0.1",
        0,
        True,
        None,
        None,
    )
    assert config.runtime.limits == RuntimeLimits()
    assert config.store == DiskStore(root=Path("/state/store"), durability="fsync")
    assert (config.runtime.runtime_id, config.runtime.keep_workers) == (None, True)
    assert config.log_level == "warning"


@pytest.mark.parametrize("store", ["disk", "", "fs_store", "FS"])
def test_a_store_that_is_not_there_is_refused(store: str) -> None:
    assert refusal(store=store) == f"--store {store!r}: use one of fs, fs-store, memory"


@pytest.mark.parametrize("store", ["fs", "fs-store"])
def test_a_store_on_disk_has_a_root_and_a_durability(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    config = serve_config(ServeFlags(store=store, fs_root="srv/glass", durability="os", runtime_id="rt-1"))
    assert config.store == DiskStore(root=Path("/srv/glass"), durability="os")
    assert config.runtime.runtime_id == "rt-1"
    assert serve_config(ServeFlags(fs_root=Path("/srv"))).store == DiskStore(root=Path("/srv"))
    assert refusal(store=store, durability="none").startswith("--durability 'none': use one of fsync, os")
    assert refusal(store=store, fs_root=" ").startswith("--fs-root ' '")


def test_the_memory_store_takes_no_word_about_files() -> None:
    config = serve_config(ServeFlags(store="memory"))
    assert (config.store, config.runtime.keep_workers) == (None, False)
    assert refusal(store="memory", fs_root="/srv").startswith("--fs-root '/srv': not with --store memory")
    assert refusal(store="memory", durability="os").startswith("--durability 'os': not with --store memory")


def test_workers_are_kept_by_a_store_that_keeps_them_unless_told_otherwise() -> None:
    assert serve_config(ServeFlags(keep_workers=True)).runtime.keep_workers is True
    assert serve_config(ServeFlags(keep_workers=False)).runtime.keep_workers is False
    assert serve_config(ServeFlags(store="memory", keep_workers=False)).runtime.keep_workers is False
    assert refusal(store="memory", keep_workers=True).startswith("--keep-workers: not with --store memory")


@pytest.mark.parametrize(
    ("flag", "bad"),
    [
        (flag, bad)
        for flag in (
            "max_transcript_projection_items",
            "max_event_batch_items",
            "max_running_workers",
            "max_workers",
            "max_observers",
            "retain_bytes",
            "retain_events",
            "retain_age_s",
            "input_backlog_bytes",
            "output_max_bytes",
        )
        for bad in ("0", -1, "x", "", "1.5", 1 << 60)
    ]
    + [("grace_ms", -1), ("grace_ms", 3_600_001), ("max_waiting_workers", "-1")],
)
def test_a_number_out_of_range_is_refused_by_its_flag(flag: str, bad: int | str) -> None:
    assert refusal(**{flag: bad}).startswith(f"--{flag.replace('_', '-')} ")


def test_numbers_arrive_where_they_belong() -> None:
    config = serve_config(
        ServeFlags(
            max_transcript_projection_items="1",
            max_event_batch_items=2,
            max_running_workers=3,
            max_waiting_workers=0,
            max_workers=5,
            max_observers=6,
            retain_bytes=7,
            retain_events=8,
            retain_age_s="11",
            input_backlog_bytes=9,
            output_max_bytes=10,
            grace_ms=0,
        )
    )
    runtime = config.runtime
    assert runtime.limits == RuntimeLimits(max_transcript_projection_items=1, max_event_batch_items=2)
    assert (runtime.running_workers_max, runtime.waiting_workers_max, runtime.workers_max) == (3, 0, 5)
    assert (runtime.observers_max, runtime.input_backlog_max_bytes, runtime.output_max_bytes) == (6, 9, 10)
    assert config.retention == Retention(max_bytes=7, max_events=8, max_age_s=11)
    assert serve_config(ServeFlags()).retention.max_age_s is None
    assert runtime.grace_ms == 0


def test_names_are_checked() -> None:
    config = serve_config(ServeFlags(runtime_id="rt-1", display_name="The Glass"))
    assert (config.runtime.runtime_id, config.runtime.display_name) == ("rt-1", "The Glass")
    assert refusal(runtime_id="a/b").startswith("--runtime-id 'a/b'")
    assert refusal(runtime_id=" ").startswith("--runtime-id")
    assert refusal(display_name="").startswith("--display-name")
    assert refusal(display_name="two\nlines").startswith("--display-name")
    assert refusal(log_level="loud").startswith("--log-level 'loud'")
