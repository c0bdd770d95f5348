"""From options to budgets and isolation, in the contract's words."""

from __future__ import annotations

import pytest

from watchglass.protocol.execution import Limits, Network, Policy, Sandbox
from watchglass.server.cli.confining import Confinement, size_bytes, time_ms
from watchglass.server.cli.faults import UsageFault


def test_what_nobody_asks_for_is_not_in_the_request() -> None:
    assert Confinement().request() == {}


def test_everything_that_can_be_asked_is_in_the_contract_s_words() -> None:
    asked = Confinement(
        sandbox="linux_sandbox",
        network="proxy",
        allow=["pypi.org:443"],
        filesystem="restricted",
        memory="512M",
        pids=64,
        cpu_time="1.2s",
        wall_time="10m",
        file_size="1.5k",
        strict=True,
    ).request()
    sandbox, limits = Sandbox.model_validate(asked["sandbox"]), Limits.model_validate(asked["limits"])
    assert sandbox.model_dump(mode="json", exclude_defaults=True) == asked["sandbox"]
    assert limits == Limits(
        memory_bytes=512 << 20, pids_max=64, cpu_time_sec=2, wall_time_ms=600_000, file_size_bytes=1536
    )
    assert Policy.model_validate(asked["policy"]).capability_mode == "strict"


def test_a_list_of_places_means_the_proxy() -> None:
    asked = Confinement(allow=["pypi.org:443"]).request()
    assert Sandbox.model_validate(asked["sandbox"]).network is Network.PROXY


@pytest.mark.parametrize(
    ("flag", "confinement"),
    [
        ("--sandbox", Confinement(sandbox="jail")),
        ("--network", Confinement(network="some")),
        ("--filesystem", Confinement(filesystem="none")),
    ],
)
def test_a_word_that_is_none_is_refused_and_those_that_are_there_are_told(
    flag: str, confinement: Confinement
) -> None:
    with pytest.raises(UsageFault, match=f"{flag} .*: use .* or "):
        confinement.request()


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [("90", 90_000), ("500ms", 500), ("1.5s", 1500), ("10m", 600_000), ("2H", 7_200_000)],
)
def test_times_have_units(text: str, milliseconds: int) -> None:
    assert time_ms("--wall-time", text) == milliseconds


@pytest.mark.parametrize("text", ["", "0", "-1", "soon", "1d", "nan", "1e3"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageFault, match="--wall-time"):
        time_ms("--wall-time", text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("4096", 4096),
        ("64K", 64 << 10),
        ("512M", 512 << 20),
        ("1.5g", 3 << 29),
        ("2GiB", 2 << 30),
        ("1tb", 1 << 40),
        ("10b", 10),
    ],
)
def test_sizes_have_units(text: str, found: int) -> None:
    assert size_bytes("--memory", text) == found


@pytest.mark.parametrize("text", ["", "0", "-1", "much", "1x", "0.1", "nan", "1e3", "i"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageFault, match="--memory"):
        size_bytes("--memory", text)
