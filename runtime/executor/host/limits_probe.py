"""Which budgets hold for a worker's whole tree here, and how much there is to give.

    request  {cgroup_enabled, cgroup_root: null, or a group: "/agents" in each hierarchy}
    answer   {found: {name: {mechanism, reason}} as in `LimitCapabilities`,
              cgroup: [{path, version, serves}], memory_capacity_bytes, pids_capacity}

Each hierarchy is tried as a worker would use it, see `cgroup_trial`. What a crash
left in our folders is killed and removed before.
"""

from __future__ import annotations

import os

from . import capacity, cgroup_removal
from .cgroup import Group, enable, make_parent, write
from .cgroup_trial import Trial
from .hierarchies import Hierarchy, hierarchies

SWEEP_S_MAX = 2.0
"""How long what a crashed supervisor left may take to die; what is stuck is tried again next time."""

_V1_SERVICES = {"memory": "memory", "pids": "pids", "cpuacct": "cpu_time", "freezer": "freeze"}
_CONTROLLERS = frozenset({"memory", "pids"})
_EVERY_V2 = frozenset({"cpu_time", "kill"})
"""What v2 gives in each group, without any controller."""

_Found = dict[str, str | None]


def probe(asked: dict[str, object]) -> dict[str, object]:
    """See the module."""
    root = asked["cgroup_root"]
    seen = [hierarchy if root is None else hierarchy.below(str(root)) for hierarchy in hierarchies()]
    places = Places(is_given=root is not None) if asked["cgroup_enabled"] else None
    folders: list[dict[str, object]] = []
    if places is None:
        refused = dict.fromkeys((*_V1_SERVICES.values(), "kill"), "switched off (cgroup_enabled)")
    else:
        for hierarchy in sorted(seen, key=lambda hierarchy: -hierarchy.version):
            places.add(hierarchy)
        cgroup_removal.sweep([place.parent for place in places.found], within_s=SWEEP_S_MAX)
        trial = Trial([(place.parent, place.version, place.serves) for place in places.found])
        folders = trial.run()
        refused = {**places.refused, **trial.refused}
        cgroup_removal.remove_if_empty(place.parent for place in places.found)
    return {
        "found": {**_found(folders, refused), **_facts(seen, folders, refused, asked)},
        "cgroup": folders,
        "memory_capacity_bytes": capacity.memory_capacity_bytes(seen),
        "pids_capacity": capacity.pids_capacity(seen),
    }


class Place:
    """A folder for workers' groups, which may do what it is to serve."""

    __slots__ = ("parent", "serves", "version")

    def __init__(self, parent: str, version: int, serves: frozenset[str]) -> None:
        self.parent = parent
        self.version = version
        self.serves = serves


class Places:
    """Where workers' groups might be made, each service in one place; and why not, for the others."""

    def __init__(self, *, is_given: bool) -> None:
        """`is_given`: somebody named the group to use, so no other one is."""
        self._is_given = is_given
        self.found: list[Place] = []
        self.refused: dict[str, str] = {}

    def add(self, hierarchy: Hierarchy) -> None:
        """Make the folder there, if it serves something that none before does."""
        try:
            if hierarchy.version == 2:
                self._add_v2(self._bases(hierarchy))
            else:
                self._add_v1(self._bases(hierarchy), hierarchy.controllers)
        except OSError as error:
            lost = _EVERY_V2 if hierarchy.version == 2 else self._wanted(hierarchy.controllers)
            self.refused.update(dict.fromkeys(lost, said(error)))

    def _bases(self, hierarchy: Hierarchy) -> list[str]:
        """The groups below which to try it, the best first.

        A service manager gives a service a group and the server one inside of it
        (systemd: Delegate=, DelegateSubgroup=): then the outer one holds no process.
        """
        above = os.path.dirname(hierarchy.own)  # noqa: PTH120 - see `capacity`
        is_inside = hierarchy.version == 2 and len(above) >= len(hierarchy.mount)
        if is_inside and not self._is_given and _is_delegated(above):
            return [hierarchy.own, above]
        return [hierarchy.own]

    def _add_v2(self, bases: list[str]) -> None:
        """The first base that lets its controllers be used: one that holds processes does not."""
        for base in bases:
            wanted = _CONTROLLERS & set(_words(f"{base}/cgroup.controllers"))
            try:
                enable(base, wanted)
            except OSError as error:
                self.refused.update(dict.fromkeys(wanted, said(error)))
                continue
            self._make(base, 2, wanted | _EVERY_V2)
            return
        self._make(bases[0], 2, _EVERY_V2)

    def _add_v1(self, bases: list[str], controllers: tuple[str, ...]) -> None:
        if wanted := self._wanted(controllers):
            self._make(bases[0], 1, wanted)

    def _wanted(self, controllers: tuple[str, ...]) -> frozenset[str]:
        """The services of a v1 hierarchy that nobody gives yet."""
        given = frozenset().union(*(place.serves for place in self.found))
        if "kill" in given:
            given |= {"freeze"}
        return frozenset(_V1_SERVICES[name] for name in controllers if name in _V1_SERVICES) - given

    def _make(self, base: str, version: int, serves: frozenset[str]) -> None:
        parent = f"{base}/{cgroup_removal.parent_name()}"
        make_parent(parent, version, serves)
        self.found.append(Place(parent, version, serves))


def _is_delegated(path: str) -> bool:
    """Whether systemd marked the group as left to us; see "Control Group APIs and Delegation"."""
    for name in ("user.delegate", "trusted.delegate"):
        try:
            if os.getxattr(path, name) == b"1":
                return True
        except OSError:
            continue
    return False


def said(error: OSError) -> str:
    """What the kernel said, and of what."""
    return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)


def _found(folders: list[dict[str, object]], refused: dict[str, str]) -> dict[str, _Found]:
    """What holds, by the group that serves it or by what is left without one."""

    def by_group(service: str) -> str | None:
        for folder in folders:
            if service in folder["serves"]:  # type: ignore[operator]  # A list.
                return f"cgroup_v{folder['version']}"
        return None

    def why(service: str) -> str:
        return refused.get(service, "no control group hierarchy here serves it")

    def found(service: str) -> _Found:
        """Without a group nothing does: what the supervisor can do then is less than to hold a tree."""
        mechanism = by_group(service)
        return {"mechanism": mechanism, "reason": None if mechanism else why(service)}

    peak = found("memory")
    if "memory_peak" in refused:
        peak = {"mechanism": None, "reason": refused["memory_peak"]}
    kill: _Found = {"mechanism": "subreaper", "reason": f"a fork bomb may outrun it; {why('kill')}"}
    if by_group("kill"):
        kill = {"mechanism": "cgroup_kill", "reason": None}
    elif by_group("freeze"):
        kill = {"mechanism": "cgroup_freezer", "reason": None}
    return {
        "memory": found("memory"),
        "pids": found("pids"),
        "cpu_time": found("cpu_time"),
        "oom_detection": found("memory"),
        "memory_peak": peak,
        "tree_kill": kill,
    }


def _facts(
    seen: list[Hierarchy], folders: list[dict[str, object]], refused: dict[str, str], asked: dict[str, object]
) -> dict[str, _Found]:
    v2: _Found = {"mechanism": None, "reason": "not mounted"}
    for hierarchy in seen:
        if hierarchy.version == 2:
            names = _words(f"{hierarchy.own}/cgroup.controllers")
            lacking = sorted(_CONTROLLERS - set(names))
            reason = f"without the controllers {', '.join(lacking)}" if lacking else None
            v2 = {"mechanism": "cgroup_v2", "reason": reason}
    versions = sorted({f"cgroup_v{folder['version']}" for folder in folders})
    writable: _Found = {"mechanism": "+".join(versions) or None, "reason": None}
    if not versions:
        writable["reason"] = next(iter(refused.values()), "no control group hierarchy is mounted")
    quota: _Found = {"mechanism": None, "reason": "switched off (cgroup_enabled)"}
    if asked["cgroup_enabled"]:
        quota = _cpu_quota(seen)
    return {"cgroup_v2": v2, "cgroup_writable": writable, "cpu_quota": quota}


def _cpu_quota(seen: list[Hierarchy]) -> _Found:
    """Whether a group below ours could be held to a share of the CPUs; done in one."""
    for hierarchy in seen:
        v2 = hierarchy.version == 2
        if "cpu" in (_words(f"{hierarchy.own}/cgroup.controllers") if v2 else hierarchy.controllers):
            try:
                _try_cpu_quota(hierarchy)
            except OSError as error:
                return {"mechanism": None, "reason": said(error)}
            return {"mechanism": f"cgroup_v{hierarchy.version}", "reason": None}
    return {"mechanism": None, "reason": "no control group hierarchy here has the controller cpu"}


def _try_cpu_quota(hierarchy: Hierarchy) -> None:
    if hierarchy.version == 2:
        write(f"{hierarchy.own}/cgroup.subtree_control", b"+cpu")
    name = cgroup_removal.group_name("quota")
    parent = f"{hierarchy.own}/{cgroup_removal.parent_name()}"
    group = Group(parent, name, hierarchy.version, frozenset())
    try:
        if hierarchy.version == 2:
            write(f"{parent}/cgroup.subtree_control", b"+cpu")
            write(f"{group.path}/cpu.max", b"50000 100000")
        else:
            write(f"{group.path}/cpu.cfs_quota_us", b"50000")
    finally:
        cgroup_removal.destroy([group.path], within_s=SWEEP_S_MAX)
        cgroup_removal.remove_if_empty([parent])


def _words(path: str) -> list[str]:
    """The words in a small file; none when it cannot be read."""
    return cgroup_removal.read(path).decode().split()
