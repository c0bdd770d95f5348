"""Places are compared in one way of writing, and what could be read in two ways is none."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchglass.protocol.places import Place, allowed_place, place_of


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("example.org:443", Place("example.org", 443)),
        ("EXAMPLE.Org.:443", Place("example.org", 443)),
        ("db:5432", Place("db", 5432)),
        ("_srv.a-b.example:1", Place("_srv.a-b.example", 1)),
        ("xn--bcher-kva.example:80", Place("xn--bcher-kva.example", 80)),
        ("127.0.0.1:65535", Place("127.0.0.1", 65535)),
        ("[::1]:443", Place("::1", 443)),
        ("[2001:DB8:0:0::7]:80", Place("2001:db8::7", 80)),
    ],
)
def test_a_place_is_a_host_and_a_port(text: str, place: Place) -> None:
    assert place_of(text) == place


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":80",
        "example.org",
        "example.org:",
        "example.org:0",
        "example.org:65536",
        "example.org:080",
        "example.org:+80",
        "example.org:\u0664\u0664",
        "example.org:80:80",
        "example.org..:80",
        ".example.org:80",
        "-a.example:80",
        "a-.example:80",
        "user@example.org:80",
        "exa mple.org:80",
        "example.org\n:80",
        "example.org/:80",
        "example.org\\:80",
        "example.org%2e:80",
        "b\u00fccher.example:80",
        "a" * 64 + ".example:80",
        "a." * 127 + "a:80",
        "127.1:80",
        "127.0.0.01:80",
        "127.0.0.1.:80",
        "2130706433:80",
        "0x7f000001:80",
        "0x7f.1:80",
        "1.2.3.4.5:80",
        "256.1.1.1:80",
        "::1:80",
        "[::1:80",
        "[::1]80",
        "[::1]",
        "[fe80::1%lo]:80",
        "[127.0.0.1]:80",
        "[]:80",
    ],
)
def test_what_could_mean_another_place_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        place_of(text)


def test_a_scheme_gives_a_port_where_none_is_named() -> None:
    assert place_of("example.org", default_port=80) == Place("example.org", 80)
    assert place_of("[::1]", default_port=80) == Place("::1", 80)
    with pytest.raises(ValueError, match="port"):
        place_of("example.org:", default_port=80)


@given(st.ip_addresses(), st.integers(1, 65535))
def test_a_place_written_and_read_is_the_same(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int
) -> None:
    place = Place(str(address), port)
    assert place_of(str(place)) == place
    assert place.address == address


@pytest.mark.parametrize(
    ("entry", "covered", "others"),
    [
        (
            "*.example.org:443",
            ["a.example.org:443", "a.b.example.org:443", "A.EXAMPLE.ORG.:443"],
            ["example.org:443", "a.example.org:80", "aexample.org:443", "a.example.org.evil.net:443"],
        ),
        ("example.org:443", ["example.org:443"], ["a.example.org:443", "example.org:80"]),
        ("127.0.0.1:80", ["127.0.0.1:80"], ["localhost:80", "127.0.0.2:80", "[::ffff:127.0.0.1]:80"]),
    ],
)
def test_an_entry_covers_what_it_says(entry: str, covered: list[str], others: list[str]) -> None:
    allowed = allowed_place(entry)
    assert all(allowed.covers(place_of(text)) for text in covered)
    assert not any(allowed.covers(place_of(text)) for text in others)


@pytest.mark.parametrize(
    "entry", ["*:443", "*.:443", "*.org:443", "*.*.org:443", "a.*.org:443", "*a.org:1", "*.10.0.0.1:80"]
)
def test_a_wildcard_stands_for_whole_labels_below_a_name(entry: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        allowed_place(entry)
