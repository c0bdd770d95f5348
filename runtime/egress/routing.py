"""Where a worker may be connected to: the list is asked first, and each address that a name has after it.

The addresses that come out are the ones to connect to. Nobody resolves the name a
second time, so no answer of DNS can change between the check and the connection.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from enum import StrEnum

from watchglass.protocol.places import Address, AllowedPlace, Place, allowed_place

from .ranges import is_public
from .resolving import Resolver

LOCALHOST = "localhost"
_LOOPBACKS: tuple[Address, ...] = (
    ipaddress.IPv4Address("127.0.0.1"),
    ipaddress.IPv6Address("::1"),
)


class Reason(StrEnum):
    """Why a worker did not get what it asked for."""

    NOT_ALLOWED = "not_allowed"
    """The list does not name the place."""
    PRIVATE_ADDRESS = "private_address"
    """The name leads to addresses that the list would have to name themselves."""
    MALFORMED = "malformed_request"
    """It is no request that this proxy takes."""
    TOO_MANY_PLACES = "too_many_places"
    """Stands for all further places, when a worker has tried too many to tell of each."""


class Refused(Exception):
    """The worker must not reach the place."""

    def __init__(self, place: Place, reason: Reason) -> None:
        super().__init__(f"{place}: {reason}")
        self.place = place
        self.reason = reason


class Allowlist:
    """The places of one worker."""

    def __init__(self, texts: Sequence[str]) -> None:
        """Raises ValueError: one names no place."""
        allowed = [allowed_place(text) for text in texts]
        self._exact = {entry.place for entry in allowed if not entry.is_wildcard}
        self._wildcards: list[AllowedPlace] = [entry for entry in allowed if entry.is_wildcard]

    def names(self, place: Place) -> bool:
        """Whether the list has exactly this place."""
        return place in self._exact

    def covers(self, place: Place) -> bool:
        """Whether the list has it, or a wildcard that it lies below."""
        return self.names(place) or any(entry.covers(place) for entry in self._wildcards)


async def route(place: Place, allowlist: Allowlist, resolve: Resolver) -> Sequence[Address]:
    """The addresses to try for `place`, in order; at least one.

    An address that is not public must be on the list itself, as an address with
    this port. `localhost` on the list is the host's loopback, whatever DNS says.

    Raises:
        Refused: The list does not let it through.
        OSError: The name has no address.
    """
    if not allowlist.covers(place):
        raise Refused(place, Reason.NOT_ALLOWED)
    if place.address is not None:
        return [place.address]
    if place.host == LOCALHOST:
        return _LOOPBACKS
    found = [_unwrapped(address) for address in await resolve(place.host)]
    if not found:
        raise OSError(f"{place.host} has no address")
    fit = [address for address in found if is_public(address) or _is_named(address, place.port, allowlist)]
    if not fit:
        raise Refused(place, Reason.PRIVATE_ADDRESS)
    return fit


def _is_named(address: Address, port: int, allowlist: Allowlist) -> bool:
    return allowlist.names(Place(str(address), port))


def _unwrapped(address: Address) -> Address:
    """An address of IPv4 in the clothes of IPv6 (::ffff:0:0/96) is what the kernel connects to."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
