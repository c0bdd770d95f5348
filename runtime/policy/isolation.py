"""What a worker is kept from seeing and doing: `sandbox` of a request, decided.

Profile `linux_sandbox` asks by its name for a file system of its own, no
network, a filter of system calls and namespaces. Where the sandbox itself
cannot be had, each of these that profile `process` can still give by other
means is given, and told by itself; the rest is lost with the profile.
"""

from __future__ import annotations

from collections.abc import Iterator

from watchglass.protocol.execution import (
    Enforcement,
    FilesystemAccess,
    Namespaces,
    Network,
    Sandbox,
    SandboxProfile,
)
from watchglass.runtime.capabilities import MISSING, Found, SandboxCapabilities

from .decision import Decision, Value, always, given, lost

NAMESPACES = ("mount", "pid", "uts", "ipc")
"""Those that are asked for by name; `net` is what `network` says."""
BUBBLEWRAP = "bubblewrap"
_SAME_USER = "modes and times of the user's other files can still be changed"
_SHARES = "profile 'process' shares this with the host"


def isolation(asked: Sandbox, host: SandboxCapabilities, *, all_own_uids: bool = False) -> Iterator[Decision]:
    """Every decision about a sandbox. `all_own_uids`: the operator asks for a user for each worker."""
    is_sandboxed = sandboxed(asked, host)
    yield _profile(asked, host)
    yield from _rootfs(asked, host, is_sandboxed=is_sandboxed)
    yield from _namespaces(asked, host, is_sandboxed=is_sandboxed)
    yield from _network(asked, host, is_sandboxed=is_sandboxed)
    yield from _filesystem(asked, host, is_sandboxed=is_sandboxed)
    yield from _seccomp(asked, host)
    yield Decision(
        feature="sandbox.no_new_privs", effective=True, mechanism="prctl(2)", enforced=Enforcement.HARD
    )
    yield from _own_uid(asked, host, is_sandboxed=is_sandboxed, is_asked=all_own_uids)
    if is_sandboxed:
        yield always("exit.exact", host.exact_exit)


def sandboxed(asked: Sandbox, host: SandboxCapabilities) -> bool:
    """Whether a sandbox is asked for and can be given."""
    return asked.profile is SandboxProfile.LINUX_SANDBOX and bool(host.linux_sandbox)


def effective_sandbox(asked: Sandbox, decisions: dict[str, Decision]) -> Sandbox:
    """The decisions in the words of a request."""
    profile = SandboxProfile(str(decisions["sandbox.profile"].effective))
    rootfs = _effective(decisions, "sandbox.rootfs")
    network = Network(str(_effective(decisions, "sandbox.network") or Network.HOST))
    access = FilesystemAccess(str(_effective(decisions, "sandbox.filesystem") or FilesystemAccess.HOST))
    is_sandboxed = profile is SandboxProfile.LINUX_SANDBOX
    unshared = {name: bool(_effective(decisions, f"sandbox.namespaces.{name}")) for name in NAMESPACES}
    return Sandbox(
        profile=profile,
        workspace_subdir=asked.workspace_subdir,
        rootfs=None if rootfs is None else str(rootfs),
        chroot=asked.chroot and rootfs is not None,
        namespaces=Namespaces(**unshared, net=network is not Network.HOST) if is_sandboxed else None,
        network=network,
        network_allow=asked.network_allow if network is Network.PROXY else [],
        filesystem=access,
    )


def wanted_network(asked: Sandbox) -> Network | None:
    """What `network`, `namespaces.net` and the profile together ask for; None: nothing."""
    if asked.network is not None:
        return asked.network
    wants_sandbox = asked.profile is SandboxProfile.LINUX_SANDBOX
    if asked.namespaces is None:
        return Network.NONE if wants_sandbox else None
    if asked.namespaces.net:
        return Network.NONE
    return Network.HOST if wants_sandbox else None


def _profile(asked: Sandbox, host: SandboxCapabilities) -> Decision:
    found = host.linux_sandbox
    if asked.profile is SandboxProfile.PROCESS:
        return Decision(feature="sandbox.profile", requested="process", effective="process")
    if not found:
        return lost("sandbox.profile", "linux_sandbox", "process", found.reason)
    return given("sandbox.profile", "linux_sandbox", "linux_sandbox", found)


def _rootfs(asked: Sandbox, host: SandboxCapabilities, *, is_sandboxed: bool) -> Iterator[Decision]:
    if asked.rootfs is None:
        return
    if not is_sandboxed:
        yield lost("sandbox.rootfs", asked.rootfs, None, "profile 'process' runs on the host's root")
    elif not host.rootfs:
        yield lost("sandbox.rootfs", asked.rootfs, None, host.rootfs.reason)
    else:
        yield given("sandbox.rootfs", asked.rootfs, asked.rootfs, host.rootfs)


def _namespaces(asked: Sandbox, host: SandboxCapabilities, *, is_sandboxed: bool) -> Iterator[Decision]:
    wanted = asked.namespaces
    if wanted is None:
        if is_sandboxed:
            yield from (_namespace(name, host, is_asked=True) for name in NAMESPACES)
        return
    for name in NAMESPACES:
        is_asked = bool(getattr(wanted, name))
        if is_sandboxed:
            yield _namespace(name, host, is_asked=is_asked)
        elif is_asked:
            yield lost(f"sandbox.namespaces.{name}", True, False, _SHARES)


def _namespace(name: str, host: SandboxCapabilities, *, is_asked: bool) -> Decision:
    feature = f"sandbox.namespaces.{name}"
    if name == "mount":  # There is no sandbox without it.
        found, is_given = Found(BUBBLEWRAP), True
    else:
        found, is_given = host.namespaces.get(name, MISSING), is_asked
    if not is_given:
        return Decision(feature=feature, requested=False, effective=False)
    if not found:
        return lost(feature, True, False, found.reason)
    return given(feature, True if is_asked else None, True, found)


def _network(asked: Sandbox, host: SandboxCapabilities, *, is_sandboxed: bool) -> Iterator[Decision]:
    wanted = wanted_network(asked)
    if wanted is None:
        return
    if wanted is Network.HOST:
        yield Decision(feature="sandbox.network", requested="host", effective="host")
        return
    found = _network_means(wanted, host, is_sandboxed=is_sandboxed)
    if found:
        yield given("sandbox.network", str(wanted), str(wanted), found)
    else:  # An open network in place of a filtered one is never given.
        yield lost("sandbox.network", str(wanted), "host", found.reason, is_vital=wanted is Network.PROXY)


def _network_means(wanted: Network, host: SandboxCapabilities, *, is_sandboxed: bool) -> Found:
    if is_sandboxed:
        return host.network_proxy if wanted is Network.PROXY else host.namespaces.get("net", MISSING)
    if wanted is Network.PROXY:
        return Found(None, "profile 'process' shares the host's network")
    if not host.seccomp:
        return Found(None, f"profile 'process' needs a filter of system calls for it ({host.seccomp.reason})")
    return Found(host.seccomp.mechanism, "unix sockets of the host can still be reached")


def _filesystem(asked: Sandbox, host: SandboxCapabilities, *, is_sandboxed: bool) -> Iterator[Decision]:
    if is_sandboxed:
        asks_less = asked.filesystem is FilesystemAccess.HOST
        asks = "host" if asks_less else "restricted"
        yield given("sandbox.filesystem", asks, "restricted", Found(BUBBLEWRAP))
    elif asked.filesystem is FilesystemAccess.HOST:
        yield Decision(feature="sandbox.filesystem", requested="host", effective="host")
    elif _wants_restricted(asked):
        found = host.restricted_filesystem
        if not found:
            yield lost("sandbox.filesystem", "restricted", "host", found.reason)
        else:
            weakness = None if _unsandboxed_uid(host) else _SAME_USER
            means = Found(found.mechanism, found.reason or weakness)
            yield given("sandbox.filesystem", "restricted", "restricted", means)


def _own_uid(
    asked: Sandbox, host: SandboxCapabilities, *, is_sandboxed: bool, is_asked: bool
) -> Iterator[Decision]:
    """With a sandbox, and with Landlock, which knows no modes and no owners of files; else if it is asked."""
    found = host.own_uid if is_sandboxed else _unsandboxed_uid(host)
    if is_asked and not found:
        yield lost("sandbox.own_uid", True, False, found.reason)
    elif is_asked:
        yield given("sandbox.own_uid", True, True, found)
    elif is_sandboxed or (_wants_restricted(asked) and host.restricted_filesystem):
        yield always("sandbox.own_uid", found)


def _wants_restricted(asked: Sandbox) -> bool:
    """Whether Landlock is to keep it: it is asked for, or what is left of a sandbox."""
    if asked.filesystem is None:
        return asked.profile is SandboxProfile.LINUX_SANDBOX
    return asked.filesystem is FilesystemAccess.RESTRICTED


def _unsandboxed_uid(host: SandboxCapabilities) -> Found:
    """Its paths are the host's, so another user has to be brought to what is its own."""
    return host.own_uid if host.own_place or not host.own_uid else Found(None, host.own_place.reason)


def _seccomp(asked: Sandbox, host: SandboxCapabilities) -> Iterator[Decision]:
    """With a sandbox it is asked for; with Landlock it is added where it can be."""
    if asked.profile is SandboxProfile.LINUX_SANDBOX:
        if host.seccomp:
            yield given("sandbox.seccomp", True, True, host.seccomp)
        else:
            yield lost("sandbox.seccomp", True, False, host.seccomp.reason)
    elif asked.filesystem is FilesystemAccess.RESTRICTED and host.restricted_filesystem:
        yield always("sandbox.seccomp", host.seccomp)


def _effective(decisions: dict[str, Decision], feature: str) -> Value:
    decision = decisions.get(feature)
    return None if decision is None else decision.effective
