"""Every flag of `watchglass serve`: its name, its words in the help, and what it may be.

One table for two readers: `server/cli/serving.py` makes the command's options of
it, and `config.py` checks what was given. A field is the flag of the same name
(`bind` is `--bind`). Nothing heavy is imported here: a flag that there is not is
refused before the server is loaded.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final

Text = str | None
Texts = Sequence[str]
Number = int | str | None
"""May come as text."""
Place = str | os.PathLike[str] | None

LISTENING: Final = "Where it listens, and who may come"
NAMING: Final = "What it is called, and what it logs"
STORING: Final = "What it keeps"
SHARING: Final = "Who gets which part of the machine"
CONFINING: Final = "How workers are held"
BOUNDS: Final = "Bounds"
_ROW: Final = "watchglass.flag"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A flag as the help shows it. Without a `metavar` it is a switch; `also` is its other name."""

    help: str
    panel: str
    metavar: str | None = None
    also: str | None = None


def flag(
    metavar: str,
    text: str,
    panel: str,
    *,
    default: Any = None,
    otherwise: str | None = None,
    also: str | None = None,
) -> Any:
    """A field whose flag has a value. `also`: its other name, such as the task contract's.

    `otherwise` is what holds without it, in words; to import `config`, which knows, takes too long for help.
    """
    said = text if otherwise is None else f"{text}  [default: {otherwise}]"
    return field(default=default, metadata={_ROW: Row(help=said, panel=panel, metavar=metavar, also=also)})


def switch(text: str, panel: str, *, default: bool | None) -> Any:
    """A field whose flag has none; unless it is off by default, `--no-` before its name turns it off."""
    return field(default=default, metadata={_ROW: Row(help=text, panel=panel)})


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ServeFlags:
    """What was given, as it was given; None means the default. A token may be in it, so it is never shown."""

    bind: str = flag("HOST:PORT", "Port 0: any free one.", LISTENING, default="127.0.0.1:0")
    local_token_file: Place = flag(
        "PATH", "The token; without any, one in the state directory, made at the first start.", LISTENING
    )
    local_token_env: Text = flag("NAME", "The environment variable that has the token.", LISTENING)
    local_token: Text = flag("VALUE", "The token itself; others on this machine can see it.", LISTENING)
    tokens_file: Place = flag(
        "PATH",
        "Tokens with fewer rights, see 'watchglass token'; without it, tokens.jsonl in the state "
        "directory, if it is there.",
        LISTENING,
    )
    no_auth: bool = switch("No token, on loopback alone.", LISTENING, default=False)
    tls_cert: Place = flag(
        "PATH",
        "Speak TLS (https, wss) with this certificate and those that vouch for it, in PEM. "
        "SIGHUP reads it anew.",
        LISTENING,
    )
    tls_key: Place = flag("PATH", "The key of that certificate, in PEM and not encrypted.", LISTENING)
    allow_host: Texts = flag(
        "NAME[:PORT]", "Another name that it is reached by. Repeatable.", LISTENING, default=()
    )
    allow_origin: Texts = flag("ORIGIN", "Browser pages that may come. Repeatable.", LISTENING, default=())
    runtime_id: Text = flag(
        "ID", "Its id; without it, that of the only runtime in --fs-root, or one made up.", NAMING
    )
    display_name: Text = flag("TEXT", "What people call it.", NAMING)
    log_level: str = flag(
        "debug|info|warning|error", "What it logs: JSON lines, on stderr.", NAMING, default="warning"
    )
    store: str = flag(
        "fs|memory", "Where journals are: in files, or gone with the server.", STORING, default="fs"
    )
    fs_root: Place = flag(
        "DIR", "The folder of those files; without it, one in the state directory.", STORING
    )
    durability: Text = flag(
        "fsync|os",
        "What is acknowledged survives a loss of power, or only the death of processes. Default: fsync.",
        STORING,
    )
    keep_workers: bool | None = switch(
        "Workers go on when the server ends by SIGTERM or dies, and the next one adopts them. "
        "Default: they do with --store fs.",
        STORING,
        default=None,
    )
    retain_bytes: Number = flag("SIZE", "The most bytes of one worker's journal.", STORING, otherwise="32M")
    retain_events: Number = flag("N", "The most events of one worker's journal.", STORING, otherwise="200000")
    retain_age_s: Number = flag(
        "N", "The age in seconds at which events are dropped.", STORING, otherwise="never"
    )
    output_max_bytes: Number = flag(
        "SIZE", "The most bytes of one worker's stdout, and of its stderr.", STORING, otherwise="1G"
    )
    max_running_workers: Number = flag(
        "N", "Processes at once; more workers wait.", SHARING, also="--max-running-tasks", otherwise="512"
    )
    max_waiting_workers: Number = flag(
        "N", "Workers that may wait; more are refused.", SHARING, also="--max-queued-tasks", otherwise="1024"
    )
    capacity_memory: Number = flag(
        "SIZE|host",
        "Memory that all workers together may reserve; 'host': what this host is found to have.",
        SHARING,
        otherwise="not accounted",
    )
    capacity_pids: Number = flag(
        "N|host", "The same for processes and threads.", SHARING, otherwise="not accounted"
    )
    default_memory: Number = flag(
        "SIZE",
        "Bytes that a worker without a limit reserves and gets, where memory is accounted.",
        SHARING,
        otherwise="512M",
    )
    default_pids: Number = flag("N", "The same for its processes and threads.", SHARING, otherwise="128")
    tenant: Texts = flag(
        "QUOTA",
        "TENANT=slots:N[,memory:SIZE][,pids:N]: the most that this tenant has at once. Repeatable.",
        SHARING,
        default=(),
    )
    capability_mode: Text = flag(
        "adaptive|strict",
        "For requests that name none: give what this host can and tell what is lost, or refuse. "
        "Default: adaptive.",
        CONFINING,
    )
    cgroups: bool = switch(
        "Hold workers in control groups where they can be made, or make none.", CONFINING, default=True
    )
    cgroup_root: Place = flag(
        "DIR", "The group below which those of workers are made; without it, the server's own.", CONFINING
    )
    worker_uids: Text = flag(
        "sandboxed|all",
        "Which workers a server that is root makes users of their own: those that are kept to "
        "their workspace, or all. Default: sandboxed.",
        CONFINING,
    )
    worker_uid_base: Number = flag("N", "The first of these users.", CONFINING, otherwise="1900000000")
    worker_uid_count: Number = flag(
        "N",
        "How many users these are: one is given again when all others were. Default: 65536, or with a "
        "base of your own --max-running-workers.",
        CONFINING,
    )
    max_workers: Number = flag("N", "Workers, the ended ones included.", BOUNDS, otherwise="100000")
    max_observers: Number = flag("N", "Open feeds at once.", BOUNDS, otherwise="10000")
    input_backlog_bytes: Number = flag(
        "SIZE", "Input that a worker may leave unread.", BOUNDS, otherwise="512K"
    )
    import_max_bytes: Number = flag(
        "SIZE", "The most bytes of one archive that is imported.", BOUNDS, otherwise="4G"
    )
    grace_ms: Number = flag(
        "N",
        "How long a stopped worker may take before SIGKILL.",
        BOUNDS,
        also="--termination-grace-ms",
        otherwise="5000",
    )
    result_retention_secs: Number = flag(
        "N", "Seconds until a finished task is forgotten.", STORING, otherwise="604800"
    )
    gc_interval_ms: Number = flag("N", "How often such tasks are looked for.", STORING, otherwise="1000")
    stall_s: Number = flag(
        "N", "Seconds until a socket that takes no byte is closed.", BOUNDS, otherwise="30"
    )
    heartbeat_s: Number = flag(
        "N", "Seconds after which a quiet feed says where it stands.", BOUNDS, otherwise="15"
    )
    ready_frames: bool = switch(
        "Write a feed's frames many at a time, or one by one through the framework.", BOUNDS, default=True
    )
    max_transcript_projection_items: Number = flag(
        "N", "Entries of one transcript answer.", BOUNDS, otherwise="256"
    )
    max_event_batch_items: Number = flag("N", "Events of one batch.", BOUNDS, otherwise="256")


def rows() -> Iterator[tuple[str, Any, Row]]:
    """The name, the default and the words of every flag, in the order of the help."""
    for each in fields(ServeFlags):
        yield each.name, each.default, each.metadata[_ROW]
