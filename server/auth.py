"""Who may talk to this server, decided before anything else is looked at.

In this order: is the `Host` ours (DNS rebinding), is the `Origin` listed
(browser pages), is the token right; then `permits` says what it may do. The same
for HTTP and for WebSockets, before the upgrade. A token comes in the
`Authorization` header alone: a query string ends up in logs and histories.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from watchglass.protocol.errors import (
    ForbiddenHost,
    ForbiddenOrigin,
    InsufficientScope,
    RuntimeFault,
    Unauthorized,
)
from watchglass.protocol.scopes import Reach

from .asgi import Scope, header
from .callers import ANYBODY, LOCAL, Caller
from .given_token import Secret
from .permits import Asked, fault_of
from .tokens import TokenBook

OPEN_PATHS: Final = frozenset({"/healthz", "/readyz", "/openapi.json", "/docs"})
"""These say nothing about workers and need no token."""

WILDCARDS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not bound to.
"""Addresses that stand for all of this machine's, and where its own clients reach these."""
_HTTP_PORT, _HTTPS_PORT = 80, 443


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
    tokens: TokenBook | None = None
    """Those with fewer rights than `token`."""

    def check_caller(self, scope: Scope) -> None:
        """Raises ForbiddenHost, ForbiddenOrigin, in this order."""
        self._check_host(scope)
        origin = header(scope, b"origin")
        if origin is not None and origin.lower() not in self.origins:
            raise ForbiddenOrigin(origin)

    def caller(self, scope: Scope) -> Caller:
        """Whose token came with a request. Raises Unauthorized."""
        if self.token is None or scope["path"] in OPEN_PATHS:
            return ANYBODY
        given = _bearer(header(scope, b"authorization"))
        if hmac.compare_digest(given, self.token.reveal().encode()):
            return LOCAL
        found = None if self.tokens is None else self.tokens.caller(given)
        if found is None:
            raise Unauthorized
        return found

    def fault_of(self, caller: Caller, asks: Asked) -> RuntimeFault | None:
        """Why a caller who was let in may not go on, or None: its token may be gone or another by now."""
        if caller.digest is None:
            return None
        now = None if self.tokens is None else self.tokens.by_digest(caller.digest)
        if now is None:
            return Unauthorized()
        scope, bound_to = now.grant.scope.value, now.grant.worker_id
        if asks.need.reach is Reach.LIST and bound_to not in {None, caller.grant.worker_id}:
            return InsufficientScope(asks.need.scope.value, scope, bound_to)  # It shows more than that one.
        return fault_of(now, asks)

    def _check_host(self, scope: Scope) -> None:
        host = header(scope, b"host") or ""
        if host.lower() in self.hosts or _without_port(host.lower()) in self.hosts:
            return
        if self.any_own_address and host.lower() == _own_address(scope):
            return
        raise ForbiddenHost(host)


def access(
    *,
    host: str,
    port: int,
    token: Secret | None,
    allowed_hosts: Iterable[str],
    origins: Iterable[str],
    tokens: TokenBook | None = None,
    secure: bool = False,
) -> Access:
    """The rules of a server that is bound to this address; `secure`: it speaks TLS."""
    names = ["localhost", "127.0.0.1", "[::1]", bracketed(host)]
    own = {f"{name}:{port}" for name in names}
    if port == (_HTTPS_PORT if secure else _HTTP_PORT):
        own.update(names)
    return Access(
        token=token,
        hosts=frozenset({*own, *allowed_hosts}),
        origins=frozenset(origins),
        any_own_address=host in WILDCARDS,
        tokens=tokens,
    )


def bracketed(host: str) -> str:
    """An address as a URL has it."""
    return f"[{host}]" if ":" in host else host


def _bearer(authorization: str | None) -> bytes:
    """The token in a header. Raises Unauthorized."""
    scheme, _, given = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not given.strip():
        raise Unauthorized
    return given.strip().encode("latin1")


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host


def _own_address(scope: Scope) -> str | None:
    server = scope.get("server")
    return None if server is None else f"{bracketed(server[0])}:{server[1]}"
