"""Hosts as a probe could find them: all, nothing, or any mixture."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from hypothesis import strategies as st

from watchglass.runtime.capabilities import (
    Found,
    HostCapabilities,
    LimitCapabilities,
    SandboxCapabilities,
)

NAMESPACES = ("mount", "pid", "uts", "ipc", "net")
BWRAP = Found("bubblewrap")
CGROUP = Found("cgroup v2")
NOT_HERE = Found(None, "not here")
_FOUND = "Found"


def sandbox_with(found: Found = BWRAP, **changed: Any) -> SandboxCapabilities:
    """Everything is found so, but what is named."""
    every = {field.name: found for field in fields(SandboxCapabilities) if field.type == _FOUND}
    return SandboxCapabilities(**{**every, "namespaces": dict.fromkeys(NAMESPACES, found), **changed})


def limits_with(found: Found = CGROUP, **changed: Any) -> LimitCapabilities:
    """The same for limits."""
    every = {field.name: found for field in fields(LimitCapabilities) if field.type == _FOUND}
    return LimitCapabilities(**{**every, **changed})


EVERYTHING = HostCapabilities(sandbox=sandbox_with(), limits=limits_with())
NOTHING = HostCapabilities(sandbox=sandbox_with(NOT_HERE), limits=limits_with(NOT_HERE))

found_or_not = st.sampled_from([CGROUP, NOT_HERE, Found("something", "but weak")])
hosts = st.builds(
    HostCapabilities,
    sandbox=st.builds(
        SandboxCapabilities,
        namespaces=st.dictionaries(st.sampled_from(NAMESPACES), found_or_not),
        **{field.name: found_or_not for field in fields(SandboxCapabilities) if field.type == _FOUND},
    ),
    limits=st.builds(
        LimitCapabilities,
        **{field.name: found_or_not for field in fields(LimitCapabilities) if field.type == _FOUND},
    ),
)
