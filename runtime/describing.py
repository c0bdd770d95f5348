"""What a host can do, in the words of an answer."""

from __future__ import annotations

from dataclasses import fields

from watchglass.protocol.capabilities import Capabilities, Capability
from watchglass.protocol.identity import RuntimeId
from watchglass.store.numbering import rfc3339

from .capabilities import Found, HostCapabilities, LimitCapabilities, SandboxCapabilities


def described(host: HostCapabilities, runtime_id: RuntimeId) -> Capabilities:
    """The newest probe, as a caller sees it."""
    return Capabilities(
        runtime_id=runtime_id,
        collected_at=rfc3339(host.collected_at_us),
        kernel=host.kernel,
        sandbox=_every(host.sandbox),
        namespaces={name: _one(found) for name, found in host.sandbox.namespaces.items()},
        limits=_every(host.limits),
        memory_capacity_bytes=host.limits.memory_capacity_bytes,
        pids_capacity=host.limits.pids_capacity,
    )


def _every(capabilities: SandboxCapabilities | LimitCapabilities) -> dict[str, Capability]:
    values = {each.name: getattr(capabilities, each.name) for each in fields(capabilities)}
    return {name: _one(found) for name, found in values.items() if isinstance(found, Found)}


def _one(found: Found) -> Capability:
    return Capability(available=bool(found), mechanism=found.mechanism, reason=found.reason)
