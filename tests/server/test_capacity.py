"""What a quota is, and how a text that is none is refused."""

from __future__ import annotations

import pytest

from watchglass.protocol.execution import Reservation
from watchglass.server.capacity import AMOUNT_MAX, QuotaFault, quotas_of
from watchglass.server.config import serve_config
from watchglass.server.config_error import ConfigError
from watchglass.server.flags import ServeFlags


def test_a_quota_bounds_slots_and_maybe_memory_and_pids() -> None:
    assert quotas_of(["blue=slots:2", "a=b=pids:9,slots:1", "red=slots:3,memory:1024,pids:7"]) == {
        "blue": Reservation(task_slots=2),
        "a=b": Reservation(task_slots=1, pids=9),
        "red": Reservation(task_slots=3, memory_bytes=1024, pids=7),
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("blue", "use TENANT=slots:N"),
        ("=slots:1", "a name of 1 to 128 characters"),
        (f"{'x' * 129}=slots:1", "a name of 1 to 128 characters"),
        ("blue=", "'' is no resource"),
        ("blue=disk:1", "'disk' is no resource"),
        ("blue=memory:1", "slots is missing"),
        ("blue=slots:1,slots:2", "slots is there twice"),
        ("blue=slots", "slots '': use a whole number from 1 to"),
        ("blue=slots:0", "slots '0': use a whole number from 1 to"),
        ("blue=slots:-1", "slots '-1': use a whole number from 1 to"),
        ("blue=slots:1,memory:1P", "memory '1P': use a size such as"),
        (f"blue=slots:1,pids:{AMOUNT_MAX + 1}", f"from 1 to {AMOUNT_MAX}"),
        ("blue=slots:٣", "use a whole number"),
    ],
)
def test_another_text_is_refused_by_field_value_and_bound(text: str, said: str) -> None:
    with pytest.raises(QuotaFault) as refused:
        quotas_of([text])
    assert said in str(refused.value)


def test_a_tenant_has_one_quota() -> None:
    with pytest.raises(QuotaFault, match="tenant 'blue' has a quota already"):
        quotas_of(["blue=slots:1", "blue=slots:2"])


def test_serve_takes_capacity_defaults_and_tenants() -> None:
    options = serve_config(
        ServeFlags(
            max_running_workers="4",
            capacity_memory="1000",
            capacity_pids=64,
            default_memory="100",
            default_pids="8",
            tenant=["blue=slots:2"],
        )
    ).runtime
    assert (options.running_workers_max, options.capacity_memory_bytes, options.capacity_pids) == (
        4,
        1000,
        64,
    )
    assert (options.default_memory_bytes, options.default_pids) == (100, 8)
    assert options.tenants == {"blue": Reservation(task_slots=2)}
    plain = serve_config(ServeFlags()).runtime
    assert (plain.capacity_memory_bytes, plain.capacity_pids, plain.tenants) == (None, None, {})


@pytest.mark.parametrize("flag", ["capacity_memory", "capacity_pids", "default_memory", "default_pids"])
def test_no_amount_is_refused_with_its_flag(flag: str) -> None:
    with pytest.raises(ConfigError, match=f"--{flag.replace('_', '-')} 0: use a number from 1 to"):
        serve_config(ServeFlags(**{flag: "0"}))  # type: ignore[arg-type]  # One flag after the other.


def test_bytes_may_be_said_as_people_write_them() -> None:
    config = serve_config(
        ServeFlags(
            capacity_memory="1.5G", retain_bytes="64k", default_memory="64MiB", tenant=["a=slots:1,memory:1T"]
        )
    )
    assert (config.runtime.capacity_memory_bytes, config.retention.max_bytes) == (3 << 29, 64 << 10)
    assert config.runtime.default_memory_bytes == 64 << 20
    assert config.runtime.tenants["a"].memory_bytes == 1 << 40


@pytest.mark.parametrize("text", ["", "much", "1X", "-1", "1e3", "K", "nan"])
def test_what_is_no_size_is_refused_with_what_would_be_one(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--retain-bytes .*: use a size such as .*, from 1 to \d+ bytes"):
        serve_config(ServeFlags(retain_bytes=text))
    with pytest.raises(ConfigError, match=r"memory .*: use a size such as"):
        serve_config(ServeFlags(tenant=[f"a=slots:1,memory:{text}"]))


def test_a_number_that_is_none_is_refused_with_its_bounds() -> None:
    with pytest.raises(ConfigError, match=r"--heartbeat-s 'nan': is no whole number; use .* from 1 to 3600"):
        serve_config(ServeFlags(heartbeat_s="nan"))


def test_a_bad_quota_names_the_flag() -> None:
    with pytest.raises(ConfigError, match="--tenant 'blue=slots:x': slots 'x'"):
        serve_config(ServeFlags(tenant=["blue=slots:x"]))
