"""Addresses that a name must not lead to: those of this host, of its neighbours, and of nobody.

From the IANA registries of special-purpose addresses (RFC 6890 and its updates), with
the ranges that carry an address of IPv4 inside one of IPv6, and the one address of a
cloud's own services that lies outside of all.
"""

from __future__ import annotations

import ipaddress

from watchglass.protocol.places import Address

_CLOSED_4 = (
    "0.0.0.0/8",  # this host on this network
    "10.0.0.0/8",  # private
    "100.64.0.0/10",  # shared by a carrier's customers; clouds have services here
    "127.0.0.0/8",  # loopback
    "168.63.129.16/32",  # a cloud's wire server, on each of its hosts
    "169.254.0.0/16",  # link-local, with the metadata service of most clouds
    "172.16.0.0/12",  # private
    "192.0.0.0/24",  # protocol assignments
    "192.0.2.0/24",  # documentation
    "192.88.99.0/24",  # 6to4 relays
    "192.168.0.0/16",  # private
    "198.18.0.0/15",  # benchmarks
    "198.51.100.0/24",  # documentation
    "203.0.113.0/24",  # documentation
    "224.0.0.0/4",  # multicast
    "240.0.0.0/4",  # reserved, and broadcast
)
_OPEN_6 = "2000::/3"
"""All that is handed out to be reached from everywhere; loopback, local and multicast lie outside."""

_CLOSED_6 = (
    "2001::/23",  # protocol assignments, and Teredo
    "2001:db8::/32",  # documentation
    "2002::/16",  # 6to4: an address of IPv4 inside
    "3fff::/20",  # documentation
)

_CLOSED_4_NETWORKS = tuple(ipaddress.IPv4Network(text) for text in _CLOSED_4)
_OPEN_6_NETWORK = ipaddress.IPv6Network(_OPEN_6)
_CLOSED_6_NETWORKS = tuple(ipaddress.IPv6Network(text) for text in _CLOSED_6)


def is_public(address: Address) -> bool:
    """Whether it is one that the internet at large shares."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _CLOSED_4_NETWORKS)
    return address in _OPEN_6_NETWORK and not any(address in network for network in _CLOSED_6_NETWORKS)
