"""Who may talk to this server, decided before anything else is looked at.

In this order: is the `Host` ours (DNS rebinding), is the `Origin` listed
(browser pages), is the token right. The same for HTTP and for WebSockets, before
the upgrade. A token comes in the `Authorization` header alone: a query string
ends up in logs and histories.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from watchglass.protocol.errors import ForbiddenHost, ForbiddenOrigin, Unauthorized

from .asgi import Scope, header
from .config import Secret

OPEN_PATHS: Final = frozenset({"/healthz", "/readyz", "/openapi.json", "/docs"})
"""These say nothing about workers and need no token."""

WILDCARDS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not bound to.
"""Addresses that stand for all of this machine's, and where its own clients reach these."""
_HTTP_PORT = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """The rules of one server.

    `hosts` has names with a port, and names without one that stand for any
    port. `any_own_address` also takes the address that a connection really
    came to: a server that is bound to all addresses cannot list them.
    """

    token: Secret | None
    hosts: frozenset[str]
    origins: frozenset[str] = frozenset()
    any_own_address: bool = False

    def check_caller(self, scope: Scope) -> None:
        """Raises ForbiddenHost, ForbiddenOrigin, in this order."""
        self._check_host(scope)
        origin = header(scope, b"origin")
        if origin is not None and origin.lower() not in self.origins:
            raise ForbiddenOrigin(origin)

    def check_token(self, scope: Scope) -> None:
        """Raises Unauthorized."""
        if self.token is not None and scope["path"] not in OPEN_PATHS:
            _check_token(self.token, header(scope, b"authorization"))

    def _check_host(self, scope: Scope) -> None:
        host = header(scope, b"host") or ""
        if host.lower() in self.hosts or _without_port(host.lower()) in self.hosts:
            return
        if self.any_own_address and host.lower() == _own_address(scope):
            return
        raise ForbiddenHost(host)


def access(
    *, host: str, port: int, token: Secret | None, allowed_hosts: Iterable[str], origins: Iterable[str]
) -> Access:
    """The rules of a server that is bound to this address."""
    names = ["localhost", "127.0.0.1", "[::1]", bracketed(host)]
    own = {f"{name}:{port}" for name in names}
    if port == _HTTP_PORT:
        own.update(names)
    return Access(
        token=token,
        hosts=frozenset({*own, *allowed_hosts}),
        origins=frozenset(origins),
        any_own_address=host in WILDCARDS,
    )


def bracketed(host: str) -> str:
    """An address as a URL has it."""
    return f"[{host}]" if ":" in host else host


def _check_token(token: Secret, authorization: str | None) -> None:
    scheme, _, given = (authorization or "").partition(" ")
    right = hmac.compare_digest(given.strip().encode("latin1"), token.reveal().encode())
    if scheme.lower() != "bearer" or not right:
        raise Unauthorized


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host


def _own_address(scope: Scope) -> str | None:
    server = scope.get("server")
    return None if server is None else f"{bracketed(server[0])}:{server[1]}"
