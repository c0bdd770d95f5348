"""What a runtime can be told, with the defaults of a library use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from watchglass.protocol.execution import CapabilityMode, Reservation
from watchglass.protocol.identity import RuntimeId
from watchglass.protocol.runtime import RuntimeLimits

from .ledger import DEFAULTS
from .uids import OWN_UIDS, WORKER_UID_BASE, OwnUids

HOST: Final = "host"
Capacity = int | Literal["host"] | None
"""What all workers together may reserve: so much, what the host is found to have, or None: not accounted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeOptions:
    """Bounds and defaults of one runtime; units come last in each name.

    `running_workers_max` are the ledger's slots (processes at once),
    `waiting_workers_max` how many may wait for one, `workers_max` how many the
    catalog holds, ended ones included; `import_max_bytes` bounds an archive that
    comes over the network. `capacity_memory_bytes` and `capacity_pids` are what
    all workers together may reserve, `default_memory_bytes`
    and `default_pids` what one without a limit reserves, and is limited to, of
    what is accounted; `tenants` has the quota of each. Finished tasks older than
    `task_retention_s` are forgotten, which is looked for every `gc_interval_ms`.
    With `keep_workers`, processes outlive
    the runtime unless it is drained, and the next one on the same store adopts
    them; that takes a store that keeps its data. Workers' control groups are made
    below `cgroup_root` (None: the server's own group), unless `cgroup_enabled` is off.
    A server that is root makes each sandboxed worker a user of its own, with
    `worker_uids` "all" every worker: one of `worker_uid_count` users from
    `worker_uid_base` on (None: see `uids.worker_uids`). `capability_mode` holds for
    requests that name none.
    """

    runtime_id: RuntimeId | None = None
    display_name: str | None = None
    limits: RuntimeLimits = field(default_factory=RuntimeLimits)
    running_workers_max: int = 512
    waiting_workers_max: int = 1024
    capacity_memory_bytes: Capacity = None
    capacity_pids: Capacity = None
    default_memory_bytes: int = DEFAULTS.memory_bytes or 0
    default_pids: int = DEFAULTS.pids or 0
    tenants: Mapping[str, Reservation] = field(default_factory=dict)
    workers_max: int = 100_000
    observers_max: int = 10_000
    input_backlog_max_bytes: int = 512 << 10
    output_max_bytes: int = 1 << 30
    import_max_bytes: int = 4 << 30
    grace_ms: int = 5000
    task_retention_s: int = 604_800
    gc_interval_ms: int = 1000
    keep_workers: bool = False
    cgroup_enabled: bool = True
    cgroup_root: Path | None = None
    worker_uids: OwnUids = OWN_UIDS[0]
    worker_uid_base: int = WORKER_UID_BASE
    worker_uid_count: int | None = None
    capability_mode: CapabilityMode = CapabilityMode.ADAPTIVE
    worker_path: str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    worker_lang: str = "C.UTF-8"
