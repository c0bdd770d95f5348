"""Callers who may not do what they ask."""

from __future__ import annotations

from .base import RuntimeFault, shown


class Unauthorized(RuntimeFault):
    """The token is missing, or is none of this runtime's."""

    code = "unauthorized"

    def __init__(self) -> None:
        super().__init__("send a token of this runtime as 'Authorization: Bearer TOKEN'")


class InsufficientScope(RuntimeFault):
    """The token is right, and may not do this."""

    code = "insufficient_scope"

    def __init__(self, needed: str, held: str, bound_to: str | None = None) -> None:
        """`bound_to`: the one worker that the token is for, where it has to be for all."""
        whole, bound = ("", "") if bound_to is None else (" for all workers", f", for {bound_to!r} alone")
        super().__init__(
            f"this takes a token of scope {needed!r}{whole}; the one that came has {held!r}{bound}"
        )
        self.needed = needed
        self.held = held
        self.bound_to = bound_to


class PermissionDenied(RuntimeFault):
    """Only its owner may kill a task that has one."""

    code = "permission_denied"

    def __init__(self, task_id: str, owner: str) -> None:
        super().__init__(f"kill requires owner {shown(owner)}: task {task_id!r} is theirs")
        self.task_id = task_id
        self.owner = owner


class TlsRequired(RuntimeFault):
    """A request came without TLS to a port that speaks it."""

    code = "tls_required"

    def __init__(self) -> None:
        super().__init__("this port speaks TLS: use https:// in place of http:// (wss:// in place of ws://)")


class ForbiddenHost(RuntimeFault):
    """The Host header is not one of ours (DNS rebinding)."""

    code = "forbidden_host"

    def __init__(self, host: str) -> None:
        super().__init__(f"Host {shown(host)} is not a name of this runtime; allow it with --allow-host")
        self.host = host


class ForbiddenOrigin(RuntimeFault):
    """A browser page of an origin that is not listed."""

    code = "forbidden_origin"

    def __init__(self, origin: str) -> None:
        super().__init__(
            f"Origin {shown(origin)} is not allowed; browsers talk to a backend, or use --allow-origin"
        )
        self.origin = origin
