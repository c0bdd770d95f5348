"""The list is asked first, then every address of the name; what comes out is what is connected to."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

import pytest

from watchglass.protocol.places import Address, place_of
from watchglass.runtime.egress.routing import Allowlist, Reason, Refused, route

pytestmark = pytest.mark.asyncio


class Names:
    """A resolver that knows a few names, and which of them it was asked for."""

    def __init__(self, **known: str) -> None:
        self._known = {name.replace("_", "."): addresses for name, addresses in known.items()}
        self.asked: list[str] = []

    async def __call__(self, name: str) -> Sequence[Address]:
        self.asked.append(name)
        return [ipaddress.ip_address(text) for text in self._known[name].split()]


async def routed(allowed: list[str], target: str, names: Names) -> list[str]:
    return [str(address) for address in await route(place_of(target), Allowlist(allowed), names)]


async def reason(allowed: list[str], target: str, names: Names) -> Reason:
    with pytest.raises(Refused) as caught:
        await route(place_of(target), Allowlist(allowed), names)
    return caught.value.reason


async def test_a_listed_name_is_resolved_once_and_its_public_addresses_are_tried_in_order() -> None:
    names = Names(example_org="8.8.8.8 2606:4700::1111 1.1.1.1")
    found = await routed(["example.org:443"], "EXAMPLE.org.:443", names)
    assert found == ["8.8.8.8", "2606:4700::1111", "1.1.1.1"]
    assert names.asked == ["example.org"]


@pytest.mark.parametrize("target", ["other.org:443", "example.org:80", "8.8.8.8:443", "a.example.org:443"])
async def test_a_name_that_is_not_listed_is_not_even_resolved(target: str) -> None:
    names = Names()
    assert await reason(["example.org:443"], target, names) is Reason.NOT_ALLOWED
    assert names.asked == []


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "169.254.169.254",
        "100.100.100.200",
        "::1",
        "fd00:ec2::254",
        "::ffff:127.0.0.1",
    ],
)
async def test_a_listed_name_does_not_lead_to_the_host_or_its_neighbours(address: str) -> None:
    names = Names(example_org=address)
    assert await reason(["example.org:80"], "example.org:80", names) is Reason.PRIVATE_ADDRESS


async def test_of_a_mixed_answer_only_the_public_addresses_are_tried() -> None:
    names = Names(example_org="10.0.0.1 8.8.8.8 127.0.0.1")
    assert await routed(["example.org:80"], "example.org:80", names) == ["8.8.8.8"]


async def test_a_private_address_must_be_on_the_list_with_the_very_port() -> None:
    names = Names(example_org="10.0.0.1")
    assert await routed(["example.org:80", "10.0.0.1:80"], "example.org:80", names) == ["10.0.0.1"]
    allowed = ["example.org:80", "10.0.0.1:81", "10.0.0.2:80"]
    assert await reason(allowed, "example.org:80", names) is Reason.PRIVATE_ADDRESS


async def test_a_listed_address_is_taken_as_it_stands() -> None:
    names = Names()
    assert await routed(["127.0.0.1:80"], "127.0.0.1:80", names) == ["127.0.0.1"]
    assert await routed(["[::1]:80"], "[0:0::1]:80", names) == ["::1"]
    assert await reason(["127.0.0.1:80"], "[::ffff:127.0.0.1]:80", names) is Reason.NOT_ALLOWED
    assert names.asked == []


async def test_localhost_is_the_hosts_loopback_without_a_question_to_dns() -> None:
    names = Names(localhost="8.8.8.8")
    assert await routed(["localhost:80"], "localhost:80", names) == ["127.0.0.1", "::1"]
    assert await reason(["localhost:80"], "127.0.0.1:80", names) is Reason.NOT_ALLOWED
    assert names.asked == []


async def test_a_wildcard_covers_the_name_and_not_its_private_addresses() -> None:
    names = Names(a_example_org="8.8.8.8", b_example_org="192.168.0.1")
    assert await routed(["*.example.org:443"], "a.example.org:443", names) == ["8.8.8.8"]
    assert await reason(["*.example.org:443"], "b.example.org:443", names) is Reason.PRIVATE_ADDRESS


async def test_a_name_without_an_address_is_no_denial() -> None:
    with pytest.raises(OSError, match=r"example\.org has no address"):
        await routed(["example.org:80"], "example.org:80", Names(example_org=""))
