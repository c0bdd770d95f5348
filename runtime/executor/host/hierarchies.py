"""Which control group hierarchies this host has, and where in them we are; see cgroups(7).

A host has cgroup v2 in one hierarchy, or v1 with one hierarchy for some
controllers each, or both at once: v1 with a v2 that has none, or few.
"""

from __future__ import annotations

from .linux import read_small_file


class Hierarchy:
    """One of them as it is mounted here; `own` is the folder of our own group."""

    __slots__ = ("controllers", "mount", "own", "version")

    def __init__(self, version: int, controllers: tuple[str, ...], mount: str, own: str) -> None:
        self.version = version
        self.controllers = controllers  # Of v1, as mounted; v2 tells its own in each group.
        self.mount = mount
        self.own = own

    def below(self, root: str) -> Hierarchy:
        """The same, as if we were in the group `root`: a path in the hierarchy, or below its mount."""
        inside = root if root.startswith(self.mount + "/") else f"{self.mount}/{root.strip('/')}"
        return Hierarchy(self.version, self.controllers, self.mount, inside)


def hierarchies() -> list[Hierarchy]:
    """Those that are mounted here; [] without control groups."""
    try:
        mounts = read_small_file("/proc/self/mountinfo").decode(errors="surrogateescape")
        groups = read_small_file("/proc/self/cgroup").decode(errors="surrogateescape")
    except FileNotFoundError:
        return []
    return parse(mounts, groups)


def parse(mounts: str, groups: str) -> list[Hierarchy]:
    """From the content of /proc/self/mountinfo and /proc/self/cgroup.

    A hierarchy that is mounted twice counts once, where it was mounted first.
    """
    own = _own_paths(groups)
    found = {}
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        kind, _source, options = after.split(" ", 2)
        root, mount = (_unescape(field) for field in before.split(" ")[3:5])
        names = ("",) if kind == "cgroup2" else tuple(sorted(set(options.split(",")) & own.keys()))
        if kind not in ("cgroup", "cgroup2") or not names or names in found or names[0] not in own:
            continue
        version = 2 if kind == "cgroup2" else 1
        controllers = () if version == 2 else names
        found[names] = Hierarchy(version, controllers, mount, _below(mount, root, own[names[0]]))
    return list(found.values())


def _own_paths(groups: str) -> dict[str, str]:
    """Our group in each hierarchy by its controllers' names; "" is v2."""
    paths = {}
    for line in groups.splitlines():
        _number, names, path = line.split(":", 2)
        for name in names.split(","):
            paths[name] = path
    return paths


def _below(mount: str, root: str, path: str) -> str:
    """Where `path` is seen. One outside of what is mounted is not: then the mount's top is the nearest."""
    if root == "/":
        inside = path
    elif path == root or path.startswith(root + "/"):
        inside = path[len(root) :]
    else:
        inside = ""
    return (mount + inside).rstrip("/")


def _unescape(field: str) -> str:
    """proc(5): space, tab, newline and backslash are written in octal."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(code, character)
    return field
