"""What the host and this runtime cannot give."""

from __future__ import annotations

from .base import RuntimeFault, shown


class ResourceLimitExceeded(RuntimeFault):
    """A bound on how many things may be there at once is reached."""

    code = "resource_limit_exceeded"

    def __init__(self, what: str, limit: int) -> None:
        super().__init__(
            f"there are {limit} {what} already, which is this runtime's maximum; try again later"
        )
        self.what = what
        self.limit = limit


class InsufficientResources(RuntimeFault):
    """More is asked for than there will ever be: over the whole capacity, or over a tenant's quota."""

    code = "insufficient_resources"

    def __init__(self, resource: str, asked: int, capacity: int, tenant: str | None = None) -> None:
        """`tenant`: whose quota `capacity` is; None: it is the runtime's."""
        whose = "this runtime has" if tenant is None else f"tenant {shown(tenant)} may have"
        super().__init__(f"{resource} {asked} is over the {capacity} that {whose} in all; ask for less")
        self.resource = resource
        self.asked = asked
        self.capacity = capacity
        self.tenant = tenant


class UnsupportedCapability(RuntimeFault):
    """The host or this runtime cannot give what was asked, and less will not do.

    Less will not do in strict mode, and of some features in no mode.
    """

    code = "unsupported_capability"

    def __init__(self, feature: str, reason: str, because: str = "policy.capability_mode is strict") -> None:
        super().__init__(f"{feature}: {reason} ({because})")
        self.feature = feature
        self.reason = reason
        self.because = because
