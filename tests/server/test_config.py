"""What serve is told, and how it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from watchglass.protocol.errors import shown
from watchglass.protocol.runtime import RuntimeLimits
from watchglass.server.config import ConfigError, DiskStore, is_loopback, serve_config
from watchglass.store.base import Retention

TOKEN = "s3cret-s3cret"


def refusal(**raw: Any) -> str:
    with pytest.raises(ConfigError) as refused:
        serve_config(**raw)
    text = str(refused.value)
    assert "\n" not in text
    return text


def test_without_options_it_is_loopback_any_port_files_and_the_local_token() -> None:
    config = serve_config(environ={"WATCHGLASS_STATE_DIR": "/state"})
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


@pytest.mark.parametrize(
    ("bind", "host", "port"),
    [
        ("127.0.0.1:0", "127.0.0.1", 0),
        ("localhost:8080", "localhost", 8080),
        ("[::1]:65535", "::1", 65535),
        ("127.1.2.3:1", "127.1.2.3", 1),
    ],
)
def test_an_address_is_a_host_and_a_port(bind: str, host: str, port: int) -> None:
    config = serve_config(bind=bind)
    assert (config.host, config.port) == (host, port)


@pytest.mark.parametrize(
    "bind",
    ["", "127.0.0.1", "127.0.0.1:", ":8080", "127.0.0.1:port", "127.0.0.1:-1", "::1:80", "[nope]:1", "a:1:2"],
)
def test_a_bad_address_is_refused_by_name_and_value(bind: str) -> None:
    text = refusal(bind=bind)
    assert text.startswith("--bind ")
    assert repr(bind) in text


def test_a_port_out_of_range_is_refused() -> None:
    assert "65535 is the most" in refusal(bind="127.0.0.1:65536")


@pytest.mark.parametrize("bind", ["0.0.0.0:0", "[::]:0", "192.0.2.1:80", "example.org:80"])
def test_an_address_that_others_can_reach_needs_a_token_that_was_given(bind: str) -> None:
    assert "needs a token" in refusal(bind=bind)
    assert "--no-auth" in refusal(bind=bind, no_auth=True)
    assert serve_config(bind=bind, local_token=TOKEN).token is not None


def test_a_token_comes_from_one_source(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    environ = {"NAME": TOKEN}
    for config in (
        serve_config(local_token=TOKEN),
        serve_config(local_token_env="NAME", environ=environ),
        serve_config(local_token_file=file),
    ):
        assert config.token is not None
        assert config.token.reveal() == TOKEN
    assert serve_config(local_token_file=file).token_file == file
    text = refusal(local_token=TOKEN, local_token_env="NAME", environ=environ)
    assert "--local-token and --local-token-env" in text
    assert TOKEN not in text
    assert "leave out the token" in refusal(local_token=TOKEN, no_auth=True)


@pytest.mark.parametrize("empty", ["", "  ", "\n"])
def test_an_empty_token_is_refused_wherever_it_comes_from(empty: str, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(empty)
    assert refusal(local_token=empty) == "--local-token: the token is empty"
    assert "'NAME': the token is empty" in refusal(local_token_env="NAME", environ={"NAME": empty})
    assert f"{shown(str(file))}: the token is empty" in refusal(local_token_file=file)


def test_a_token_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "'NOPE': this environment variable is not set" in refusal(local_token_env="NOPE", environ={})
    assert "No such file" in refusal(local_token_file=tmp_path / "nope")
    assert "directory" in refusal(local_token_file=tmp_path)


@pytest.mark.parametrize("token", ["two words", "tökén", "a\tb", "x" * 5000])
def test_a_token_that_cannot_travel_is_refused_and_never_shown(token: str) -> None:
    assert token not in refusal(local_token=token)


def test_the_token_is_never_shown() -> None:
    config = serve_config(local_token=TOKEN)
    assert TOKEN not in repr(config)
    assert "<redacted>" in repr(config)
    assert TOKEN not in f"{config.token} {config.token!r}"


@pytest.mark.parametrize("store", ["disk", "", "fs_store", "FS"])
def test_a_store_that_is_not_there_is_refused(store: str) -> None:
    assert refusal(store=store) == f"--store {store!r}: use one of fs, fs-store, memory"


@pytest.mark.parametrize("store", ["fs", "fs-store"])
def test_a_store_on_disk_has_a_root_and_a_durability(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    config = serve_config(store=store, fs_root="srv/glass", durability="os", runtime_id="rt-1")
    assert config.store == DiskStore(root=Path("/srv/glass"), durability="os")
    assert config.runtime.runtime_id == "rt-1"
    assert serve_config(fs_root=Path("/srv")).store == DiskStore(root=Path("/srv"))
    assert refusal(store=store, durability="none").startswith("--durability 'none': use one of fsync, os")
    assert refusal(store=store, fs_root=" ").startswith("--fs-root ' '")


def test_the_memory_store_takes_no_word_about_files() -> None:
    config = serve_config(store="memory")
    assert (config.store, config.runtime.keep_workers) == (None, False)
    assert refusal(store="memory", fs_root="/srv").startswith("--fs-root '/srv': not with --store memory")
    assert refusal(store="memory", durability="os").startswith("--durability 'os': not with --store memory")


def test_workers_are_kept_by_a_store_that_keeps_them_unless_told_otherwise() -> None:
    assert serve_config(keep_workers=True).runtime.keep_workers is True
    assert serve_config(keep_workers=False).runtime.keep_workers is False
    assert serve_config(store="memory", keep_workers=False).runtime.keep_workers is False
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
    runtime = config.runtime
    assert runtime.limits == RuntimeLimits(max_transcript_projection_items=1, max_event_batch_items=2)
    assert (runtime.running_workers_max, runtime.waiting_workers_max, runtime.workers_max) == (3, 0, 5)
    assert (runtime.observers_max, runtime.input_backlog_max_bytes, runtime.output_max_bytes) == (6, 9, 10)
    assert config.retention == Retention(max_bytes=7, max_events=8, max_age_s=11)
    assert serve_config().retention.max_age_s is None
    assert runtime.grace_ms == 0


def test_names_are_checked() -> None:
    assert serve_config(runtime_id="rt-1", display_name="The Glass").runtime.display_name == "The Glass"
    assert refusal(runtime_id="a/b").startswith("--runtime-id 'a/b'")
    assert refusal(runtime_id=" ").startswith("--runtime-id")
    assert refusal(display_name="").startswith("--display-name")
    assert refusal(display_name="two\nlines").startswith("--display-name")
    assert refusal(log_level="loud").startswith("--log-level 'loud'")


def test_hosts_and_origins_are_lower_case_and_checked() -> None:
    config = serve_config(allow_host=["Glass.Example:8080"], allow_origin=["HTTPS://App.Example", "null"])
    assert config.allowed_hosts == ("glass.example:8080",)
    assert config.allowed_origins == ("https://app.example", "null")
    assert refusal(allow_host=["http://x"]).startswith("--allow-host")
    assert refusal(allow_origin=["app.example"]).startswith("--allow-origin")
    assert refusal(allow_origin=["https://app.example/"]).startswith("--allow-origin")


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("localhost.evil", False),
    ],
)
def test_loopback_is_this_machine_alone(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
