"""What `watchglass serve` is told, checked before anything starts.

`serve_config` takes flags as they were given and is the only way to a `ServeConfig`;
behind it there are no strings to parse. It reads the files of a token and of a
certificate and nothing else, and opens nothing. The default token (of the state directory) is looked up by
`serving`, because that may make a file; so is the runtime's id, which a root on
disk may know already.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, NamedTuple

from watchglass.client.local import state_directory
from watchglass.protocol.base import NAME_CHARS_MAX
from watchglass.protocol.errors import shown
from watchglass.protocol.execution import CapabilityMode, Reservation
from watchglass.protocol.identity import RuntimeId, id_fault
from watchglass.protocol.runtime import RuntimeLimits
from watchglass.runtime.options import HOST, Capacity, RuntimeOptions
from watchglass.runtime.uids import OwnUids
from watchglass.store.base import Retention

from .amounts import AMOUNT_FORM, amount_bytes
from .capacity import AMOUNT_MAX, QuotaFault, quotas_of
from .config_error import ConfigError
from .confinement import (
    WORKER_UID_MAX,
    WORKER_UIDS_MAX,
    ConfinementFault,
    capability_mode_of,
    cgroup_root_of,
    worker_uids_of,
)
from .flags import Number, ServeFlags
from .given_token import Secret, given_token, given_tokens_file
from .listening import allowed_host, allowed_origin, bind_address, check_exposure
from .local import store_root
from .tls import TlsFiles, tls_files

LogLevel = Literal["debug", "info", "warning", "error"]
LOG_LEVELS: Final[tuple[LogLevel, ...]] = ("debug", "info", "warning", "error")
Durability = Literal["fsync", "os"]
DURABILITIES: Final[tuple[Durability, ...]] = ("fsync", "os")
STORES: Final = ("fs", "fs-store", "memory")

_COUNT_MAX = 1 << 31
_BYTES_MAX = AMOUNT_MAX
_HOUR_S = 3600
_AGE_S_MAX = 100 * 366 * 24 * _HOUR_S
_HOUR_MS = 1000 * _HOUR_S


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskStore:
    """Journals and records are files.

    `root` is absolute and may not exist yet. `durability` says what an
    acknowledged change survives: a loss of power too (`fsync`), or the death of
    any process (`os`).
    """

    root: Path
    durability: Durability = "fsync"


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedBounds:
    """How long and how much a feed waits for its observer."""

    stall_s: float = 30.0
    """A socket that takes no byte for so long is closed."""
    close_s: float = 3.0
    """How long feeds may take to say goodbye when the server stops."""
    heartbeat_s: float = 15.0
    """A feed on which nothing is said for so long says where it stands."""
    ready_frames: bool = True
    """Whether frames are written many at a time, where the connection allows it; see `frames.py`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeConfig:
    """Everything that a server needs to know. Made by `serve_config`.

    `token` is the given one, and `token_file` the file it came from; with
    neither, and `auth`, the token of the user's state directory is meant.
    Without `tls` it is not spoken.
    `tokens_file` has those with fewer rights; None: that of the state directory.
    `store` is None for the memory store. Without `runtime.runtime_id` the only
    runtime of a store on disk is meant, or a new one.
    """

    host: str = "127.0.0.1"
    port: int = 0
    auth: bool = True
    token: Secret | None = None
    token_file: Path | None = None
    tokens_file: Path | None = None
    tls: TlsFiles | None = None
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    store: DiskStore | None = None
    runtime: RuntimeOptions = field(default_factory=RuntimeOptions)
    retention: Retention = field(default_factory=Retention)
    feed: FeedBounds = field(default_factory=FeedBounds)
    log_level: LogLevel = "warning"


def serve_config(flags: ServeFlags, environ: Mapping[str, str] | None = None) -> ServeConfig:
    """The configuration that these flags say.

    `environ` is where `local_token_env` and the state directory are looked up,
    the process's own environment when left out.

    Raises:
        ConfigError: One line that names the flag and the value at fault. A
            token is never part of it.
    """
    host, port = bind_address(flags.bind)
    environ = os.environ if environ is None else environ
    disk = _store(flags, environ)
    token = given_token(flags.local_token, flags.local_token_env, flags.local_token_file, environ)
    check_exposure(host, flags.bind, token, no_auth=flags.no_auth)
    confinement = _confinement(flags)
    if flags.log_level not in LOG_LEVELS:
        raise ConfigError(f"--log-level {shown(flags.log_level)}: use one of {', '.join(LOG_LEVELS)}")
    return ServeConfig(
        host=host,
        port=port,
        auth=not flags.no_auth,
        token=token,
        token_file=None if flags.local_token_file is None else Path(flags.local_token_file).absolute(),
        tokens_file=given_tokens_file(flags.tokens_file, no_auth=flags.no_auth),
        tls=tls_files(flags.tls_cert, flags.tls_key),
        allowed_hosts=tuple(allowed_host(name) for name in flags.allow_host),
        allowed_origins=tuple(allowed_origin(origin) for origin in flags.allow_origin),
        store=disk,
        runtime=_runtime_options(flags, disk, confinement),
        retention=_retention(flags),
        feed=_feed_bounds(flags),
        log_level=flags.log_level,
    )


def _runtime_options(flags: ServeFlags, disk: DiskStore | None, confinement: _Confinement) -> RuntimeOptions:
    default = RuntimeOptions()
    return RuntimeOptions(
        runtime_id=_runtime_id(flags.runtime_id),
        keep_workers=_keep_workers(disk, flags.keep_workers),
        display_name=_display_name(flags.display_name),
        limits=_limits(flags),
        running_workers_max=_number(
            "--max-running-workers", flags.max_running_workers, default.running_workers_max
        ),
        waiting_workers_max=_number(
            "--max-waiting-workers", flags.max_waiting_workers, default.waiting_workers_max, least=0
        ),
        capacity_memory_bytes=_capacity("--capacity-memory", flags.capacity_memory, _bytes),
        capacity_pids=_capacity("--capacity-pids", flags.capacity_pids, _number),
        default_memory_bytes=_bytes("--default-memory", flags.default_memory, default.default_memory_bytes),
        default_pids=_number("--default-pids", flags.default_pids, default.default_pids),
        tenants=_tenants(flags.tenant),
        capability_mode=confinement.mode,
        cgroup_enabled=flags.cgroups,
        cgroup_root=confinement.cgroup_root,
        worker_uids=confinement.worker_uids,
        worker_uid_base=_number(
            "--worker-uid-base", flags.worker_uid_base, default.worker_uid_base, most=WORKER_UID_MAX
        ),
        worker_uid_count=None
        if flags.worker_uid_count is None
        else _number("--worker-uid-count", flags.worker_uid_count, 0, most=WORKER_UIDS_MAX),
        workers_max=_number("--max-workers", flags.max_workers, default.workers_max),
        observers_max=_number("--max-observers", flags.max_observers, default.observers_max),
        input_backlog_max_bytes=_bytes(
            "--input-backlog-bytes", flags.input_backlog_bytes, default.input_backlog_max_bytes
        ),
        output_max_bytes=_bytes("--output-max-bytes", flags.output_max_bytes, default.output_max_bytes),
        import_max_bytes=_bytes("--import-max-bytes", flags.import_max_bytes, default.import_max_bytes),
        grace_ms=_number("--grace-ms", flags.grace_ms, default.grace_ms, least=0, most=_HOUR_MS),
        task_retention_s=_number(
            "--result-retention-secs",
            flags.result_retention_secs,
            default.task_retention_s,
            least=0,
            most=_AGE_S_MAX,
        ),
        gc_interval_ms=_number(
            "--gc-interval-ms", flags.gc_interval_ms, default.gc_interval_ms, most=24 * _HOUR_MS
        ),
    )


def _limits(flags: ServeFlags) -> RuntimeLimits:
    default = RuntimeLimits()
    return RuntimeLimits(
        max_transcript_projection_items=_number(
            "--max-transcript-projection-items",
            flags.max_transcript_projection_items,
            default.max_transcript_projection_items,
        ),
        max_event_batch_items=_number(
            "--max-event-batch-items", flags.max_event_batch_items, default.max_event_batch_items
        ),
    )


def _retention(flags: ServeFlags) -> Retention:
    default = Retention()
    return Retention(
        max_bytes=_bytes("--retain-bytes", flags.retain_bytes, default.max_bytes),
        max_events=_number("--retain-events", flags.retain_events, default.max_events),
        max_age_s=None
        if flags.retain_age_s is None
        else _number("--retain-age-s", flags.retain_age_s, 0, most=_AGE_S_MAX),
    )


def _feed_bounds(flags: ServeFlags) -> FeedBounds:
    default = FeedBounds()
    return FeedBounds(
        stall_s=_number("--stall-s", flags.stall_s, round(default.stall_s), most=_HOUR_S),
        heartbeat_s=_number("--heartbeat-s", flags.heartbeat_s, round(default.heartbeat_s), most=_HOUR_S),
        ready_frames=flags.ready_frames,
    )


def _store(flags: ServeFlags, environ: Mapping[str, str]) -> DiskStore | None:
    """The store on disk, or None for the memory store."""
    root = flags.fs_root
    if flags.store not in STORES:
        raise ConfigError(f"--store {shown(flags.store)}: use one of {', '.join(STORES)}")
    if flags.store == "memory":
        for flag, given in (("--fs-root", root), ("--durability", flags.durability)):
            if given is not None:
                raise ConfigError(
                    f"{flag} {shown(os.fspath(given))}: not with --store memory, which writes no journal; "
                    "leave one of them out"
                )
        return None
    level = DURABILITIES[0] if flags.durability is None else flags.durability
    if level not in DURABILITIES:
        raise ConfigError(f"--durability {shown(level)}: use one of {', '.join(DURABILITIES)}")
    if root is None:
        return DiskStore(root=store_root(state_directory(environ)), durability=level)
    if not os.fspath(root).strip() or "\0" in os.fspath(root):
        raise ConfigError(f"--fs-root {shown(os.fspath(root))}: use the path of a folder")
    return DiskStore(root=Path(root).absolute(), durability=level)


def _keep_workers(disk: DiskStore | None, given: bool | None) -> bool:
    if given and disk is None:
        raise ConfigError(
            "--keep-workers: not with --store memory, which forgets them with the server; use --store fs"
        )
    return disk is not None if given is None else given


def _runtime_id(text: str | None) -> RuntimeId | None:
    fault = None if text is None else id_fault(text)
    if fault is not None:
        raise ConfigError(f"--runtime-id {shown(text)}: {fault}")
    return text


def _display_name(text: str | None) -> str | None:
    if text is not None and (not text.strip() or len(text) > NAME_CHARS_MAX or not text.isprintable()):
        raise ConfigError(
            f"--display-name {shown(text)}: use 1 to {NAME_CHARS_MAX} printable characters, not all blank"
        )
    return text


def _tenants(texts: Sequence[str]) -> dict[str, Reservation]:
    try:
        return quotas_of(texts)
    except QuotaFault as fault:
        raise ConfigError(f"--tenant {fault}") from None


def _capacity(flag: str, given: Number, read: Callable[[str, Number, int], int]) -> Capacity:
    if given is None:
        return None
    return HOST if given == HOST else read(flag, given, 0)


class _Confinement(NamedTuple):
    """How workers are held."""

    worker_uids: OwnUids
    mode: CapabilityMode
    cgroup_root: Path | None


def _confinement(flags: ServeFlags) -> _Confinement:
    try:
        return _Confinement(
            worker_uids=worker_uids_of(flags.worker_uids, server_uid=os.geteuid()),
            mode=capability_mode_of(flags.capability_mode),
            cgroup_root=cgroup_root_of(flags.cgroup_root, cgroups=flags.cgroups),
        )
    except ConfinementFault as fault:
        raise ConfigError(str(fault)) from None


def _bytes(flag: str, given: Number, default: int) -> int:
    """A number of bytes, or a size as people write it."""
    found = amount_bytes(given) if isinstance(given, str) else None
    if found is None and isinstance(given, str):
        raise ConfigError(f"{flag} {shown(given)}: use {AMOUNT_FORM}, from 1 to {_BYTES_MAX} bytes")
    return _number(flag, given if found is None else found, default, most=_BYTES_MAX)


def _number(flag: str, given: Number, default: int, *, least: int = 1, most: int = _COUNT_MAX) -> int:
    if given is None:
        return default
    try:
        number = int(given)
    except ValueError:
        form = f"use a whole number from {least} to {most}"
        raise ConfigError(f"{flag} {shown(given)}: is no whole number; {form}") from None
    if not least <= number <= most:
        raise ConfigError(f"{flag} {number}: use a number from {least} to {most}")
    return number
