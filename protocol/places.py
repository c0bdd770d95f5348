"""Places in a network, `host:port`, in the one way of writing that is compared.

    example.org:443        a name: of letters, digits, `-` and `_`; case and one final dot do not count
    *.example.org:443      every name below it, at any depth, and not itself
    192.0.2.7:80           an address of IPv4, in four decimal parts
    [2001:db8::7]:80       an address of IPv6

A name beyond ASCII is written as DNS has it (`xn--`). Numbers that a resolver would
take for an address (`127.1`, `0x7f.1`) are no names.
"""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

NAME_CHARS_MAX = 253
"""RFC 1035, 2.3.4, as text."""

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_WILDCARD = "*."

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Place(NamedTuple):
    """A host, as a name in lower case or an address in its shortest form, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def address(self) -> Address | None:
        """The address that the host is; None: it is a name."""
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None


class AllowedPlace(NamedTuple):
    """What a list of places names: one place or, with `is_wildcard`, all names below its host."""

    place: Place
    is_wildcard: bool

    def covers(self, place: Place) -> bool:
        """Whether it names `place`."""
        if not self.is_wildcard:
            return place == self.place
        return place.port == self.place.port and place.host.endswith(f".{self.place.host}")


def allowed_place(text: str) -> AllowedPlace:
    """An entry of a list. Raises ValueError."""
    rest = text.removeprefix(_WILDCARD)
    place = place_of(rest)
    is_wildcard = rest != text
    if is_wildcard and (place.address is not None or "." not in place.host):
        raise ValueError("'*.' must be followed by a name of at least two labels")
    return AllowedPlace(place, is_wildcard)


def place_of(text: str, *, default_port: int | None = None) -> Place:
    """The place that `text` names; without a port it has `default_port`, if any. Raises ValueError."""
    if text.startswith("["):
        literal, bracket, after = text[1:].partition("]")
        if not bracket or (after and not after.startswith(":")):
            raise ValueError("must be host:port, with an address of IPv6 in brackets")
        return Place(_address_of_6(literal), _port_of(after[1:] if after else None, default_port))
    host, colon, port = text.partition(":")
    return Place(_host_of(host), _port_of(port if colon else None, default_port))


def _port_of(text: str | None, default_port: int | None) -> int:
    if text is None and default_port is not None:
        return default_port
    if text is None or not _PORT.fullmatch(text) or int(text) >= 1 << 16:
        raise ValueError("must be host:port, with a port from 1 to 65535")
    return int(text)


def _address_of_6(text: str) -> str:
    if "%" in text:  # A zone is of one machine; RFC 6874 has it no place in a request.
        raise ValueError("an address must not name a zone")
    try:
        return str(ipaddress.IPv6Address(text))
    except ValueError:
        raise ValueError(f"[{text}] is no address of IPv6") from None


def _host_of(text: str) -> str:
    name = text.lower().removesuffix(".")
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return str(ipaddress.IPv4Address(text))
        except ValueError:
            raise ValueError(f"{text!r} is neither a name nor an address of IPv4") from None
    if len(name) > NAME_CHARS_MAX or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(f"{text!r} is no name of a host")
    return name
