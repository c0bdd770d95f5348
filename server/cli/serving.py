"""`serve`: its options are those of `server.config.serve_config`, which checks them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from .faults import UsageFault

_LISTENING = "Where it listens, and who may come"
_NAMING = "What it is called, and what it logs"
_STORING = "What it keeps"
_SHARING = "Who gets which part of the machine"
_CONFINING = "How workers are held"
_BOUNDS = "Bounds"


def _number(
    flag: str,
    help_text: str,
    panel: str = _BOUNDS,
    *,
    default: str,
    also: tuple[str, ...] = (),
    metavar: str = "N",
) -> Any:
    """`also`: other names of the flag, such as the task contract's.

    The default is that of `config`, said again here: to import it would take longer than all of the help.
    """
    said = f"{help_text}  [default: {default}]"
    return typer.Option(flag, *also, metavar=metavar, help=said, rich_help_panel=panel, show_default=False)


def serve(
    bind: Annotated[
        str,
        typer.Option("--bind", metavar="HOST:PORT", help="Port 0: any free one.", rich_help_panel=_LISTENING),
    ] = "127.0.0.1:0",
    local_token_file: Annotated[
        str | None,
        typer.Option(
            "--local-token-file",
            metavar="PATH",
            help="The token; without any, one in the state directory, made at the first start.",
            rich_help_panel=_LISTENING,
        ),
    ] = None,
    local_token_env: Annotated[
        str | None,
        typer.Option(
            "--local-token-env",
            metavar="NAME",
            help="The environment variable that has the token.",
            rich_help_panel=_LISTENING,
        ),
    ] = None,
    local_token: Annotated[
        str | None,
        typer.Option(
            "--local-token",
            metavar="VALUE",
            help="The token itself; others on this machine can see it.",
            rich_help_panel=_LISTENING,
        ),
    ] = None,
    tokens_file: Annotated[
        str | None,
        typer.Option(
            "--tokens-file",
            metavar="PATH",
            help="Tokens with fewer rights, see 'watchglass token'; without it, tokens.jsonl in the state "
            "directory, if it is there.",
            rich_help_panel=_LISTENING,
        ),
    ] = None,
    no_auth: Annotated[
        bool, typer.Option("--no-auth", help="No token, on loopback alone.", rich_help_panel=_LISTENING)
    ] = False,
    tls_cert: Annotated[
        str | None,
        typer.Option(
            "--tls-cert",
            metavar="PATH",
            help="Speak TLS (https, wss) with this certificate and those that vouch for it, in PEM. "
            "SIGHUP reads it anew.",
            rich_help_panel=_LISTENING,
        ),
    ] = None,
    tls_key: Annotated[
        str | None,
        typer.Option(
            "--tls-key",
            metavar="PATH",
            help="The key of that certificate, in PEM and not encrypted.",
            rich_help_panel=_LISTENING,
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-host",
            metavar="NAME[:PORT]",
            help="Another name that it is reached by. Repeatable.",
            rich_help_panel=_LISTENING,
        ),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-origin",
            metavar="ORIGIN",
            help="Browser pages that may come. Repeatable.",
            rich_help_panel=_LISTENING,
        ),
    ] = None,
    runtime_id: Annotated[
        str | None,
        typer.Option(
            "--runtime-id",
            rich_help_panel=_NAMING,
            metavar="ID",
            help="Its id; without it, that of the only runtime in --fs-root, or one made up.",
        ),
    ] = None,
    display_name: Annotated[
        str | None,
        typer.Option("--display-name", metavar="TEXT", help="What people call it.", rich_help_panel=_NAMING),
    ] = None,
    log_level: Annotated[
        str,
        typer.Option(
            "--log-level",
            metavar="debug|info|warning|error",
            help="What it logs: JSON lines, on stderr.",
            rich_help_panel=_NAMING,
        ),
    ] = "warning",
    store: Annotated[
        str,
        typer.Option(
            "--store",
            metavar="fs|memory",
            help="Where journals are: in files, or gone with the server.",
            rich_help_panel=_STORING,
        ),
    ] = "fs",
    fs_root: Annotated[
        str | None,
        typer.Option(
            "--fs-root",
            metavar="DIR",
            help="The folder of those files; without it, one in the state directory.",
            rich_help_panel=_STORING,
        ),
    ] = None,
    durability: Annotated[
        str | None,
        typer.Option(
            "--durability",
            metavar="fsync|os",
            help="What is acknowledged survives a loss of power, or only the death of processes. "
            "Default: fsync.",
            rich_help_panel=_STORING,
        ),
    ] = None,
    keep_workers: Annotated[
        bool | None,
        typer.Option(
            "--keep-workers/--no-keep-workers",
            help="Workers go on when the server ends by SIGTERM or dies, and the next one adopts them. "
            "Default: they do with --store fs.",
            show_default=False,
            rich_help_panel=_STORING,
        ),
    ] = None,
    retain_bytes: Annotated[
        str | None,
        _number(
            "--retain-bytes",
            "The most bytes of one worker's journal.",
            _STORING,
            default="32M",
            metavar="SIZE",
        ),
    ] = None,
    retain_events: Annotated[
        str | None,
        _number("--retain-events", "The most events of one worker's journal.", _STORING, default="200000"),
    ] = None,
    retain_age_s: Annotated[
        str | None,
        _number(
            "--retain-age-s", "The age in seconds at which events are dropped.", _STORING, default="never"
        ),
    ] = None,
    output_max_bytes: Annotated[
        str | None,
        _number(
            "--output-max-bytes",
            "The most bytes of one worker's stdout, and of its stderr.",
            _STORING,
            default="1G",
            metavar="SIZE",
        ),
    ] = None,
    max_running_workers: Annotated[
        str | None,
        _number(
            "--max-running-workers",
            "Processes at once; more workers wait.",
            _SHARING,
            also=("--max-running-tasks",),
            default="512",
        ),
    ] = None,
    max_waiting_workers: Annotated[
        str | None,
        _number(
            "--max-waiting-workers",
            "Workers that may wait; more are refused.",
            _SHARING,
            also=("--max-queued-tasks",),
            default="1024",
        ),
    ] = None,
    capacity_memory: Annotated[
        str | None,
        typer.Option(
            "--capacity-memory",
            metavar="SIZE|host",
            help="Memory that all workers together may reserve; 'host': what this host is found to have.  "
            "[default: not accounted]",
            rich_help_panel=_SHARING,
            show_default=False,
        ),
    ] = None,
    capacity_pids: Annotated[
        str | None,
        typer.Option(
            "--capacity-pids",
            metavar="N|host",
            help="The same for processes and threads.  [default: not accounted]",
            rich_help_panel=_SHARING,
            show_default=False,
        ),
    ] = None,
    default_memory: Annotated[
        str | None,
        _number(
            "--default-memory",
            "Bytes that a worker without a limit reserves and gets, where memory is accounted.",
            _SHARING,
            default="512M",
            metavar="SIZE",
        ),
    ] = None,
    default_pids: Annotated[
        str | None,
        _number("--default-pids", "The same for its processes and threads.", _SHARING, default="128"),
    ] = None,
    tenant: Annotated[
        list[str] | None,
        typer.Option(
            "--tenant",
            metavar="QUOTA",
            help="TENANT=slots:N[,memory:SIZE][,pids:N]: the most that this tenant has at once. Repeatable.",
            rich_help_panel=_SHARING,
        ),
    ] = None,
    capability_mode: Annotated[
        str | None,
        typer.Option(
            "--capability-mode",
            metavar="adaptive|strict",
            help="For requests that name none: give what this host can and tell what is lost, or refuse. "
            "Default: adaptive.",
            rich_help_panel=_CONFINING,
            show_default=False,
        ),
    ] = None,
    cgroups: Annotated[
        bool,
        typer.Option(
            "--cgroups/--no-cgroups",
            help="Hold workers in control groups where they can be made, or make none.",
            rich_help_panel=_CONFINING,
        ),
    ] = True,
    cgroup_root: Annotated[
        str | None,
        typer.Option(
            "--cgroup-root",
            metavar="DIR",
            help="The group below which those of workers are made; without it, the server's own.",
            rich_help_panel=_CONFINING,
        ),
    ] = None,
    worker_uids: Annotated[
        str | None,
        typer.Option(
            "--worker-uids",
            metavar="sandboxed|all",
            help="Which workers a server that is root makes users of their own: those that are kept to their "
            "workspace, or all. Default: sandboxed.",
            rich_help_panel=_CONFINING,
            show_default=False,
        ),
    ] = None,
    worker_uid_base: Annotated[
        str | None,
        _number("--worker-uid-base", "The first of these users.", _CONFINING, default="1900000000"),
    ] = None,
    max_workers: Annotated[
        str | None, _number("--max-workers", "Workers, the ended ones included.", default="100000")
    ] = None,
    max_observers: Annotated[
        str | None, _number("--max-observers", "Open feeds at once.", default="10000")
    ] = None,
    input_backlog_bytes: Annotated[
        str | None,
        _number(
            "--input-backlog-bytes", "Input that a worker may leave unread.", default="512K", metavar="SIZE"
        ),
    ] = None,
    import_max_bytes: Annotated[
        str | None,
        _number(
            "--import-max-bytes",
            "The most bytes of one archive that is imported.",
            default="4G",
            metavar="SIZE",
        ),
    ] = None,
    grace_ms: Annotated[
        str | None,
        _number(
            "--grace-ms",
            "How long a stopped worker may take before SIGKILL.",
            also=("--termination-grace-ms",),
            default="5000",
        ),
    ] = None,
    result_retention_secs: Annotated[
        str | None,
        _number(
            "--result-retention-secs",
            "Seconds until a finished task is forgotten.",
            _STORING,
            default="604800",
        ),
    ] = None,
    gc_interval_ms: Annotated[
        str | None,
        _number("--gc-interval-ms", "How often such tasks are looked for.", _STORING, default="1000"),
    ] = None,
    stall_s: Annotated[
        str | None, _number("--stall-s", "Seconds until a socket that takes no byte is closed.", default="30")
    ] = None,
    heartbeat_s: Annotated[
        str | None,
        _number("--heartbeat-s", "Seconds after which a quiet feed says where it stands.", default="15"),
    ] = None,
    ready_frames: Annotated[
        bool,
        typer.Option(
            "--ready-frames/--no-ready-frames",
            help="Write a feed's frames many at a time, or one by one through the framework.",
            rich_help_panel=_BOUNDS,
        ),
    ] = True,
    max_transcript_projection_items: Annotated[
        str | None,
        _number("--max-transcript-projection-items", "Entries of one transcript answer.", default="256"),
    ] = None,
    max_event_batch_items: Annotated[
        str | None, _number("--max-event-batch-items", "Events of one batch.", default="256")
    ] = None,
) -> None:
    """Run a runtime until Ctrl-C.

    When it listens, it says so in one line on stderr, and your commands find it. Ctrl-C or 'watchglass drain'
    stops its workers, then itself; a second Ctrl-C does not wait for them. SIGTERM does the same, but with
    --keep-workers (the default of --store fs) it stops the server alone: the workers run on, and the next
    'serve' on the same files adopts them.
    """
    given = dict(locals())
    from watchglass.server.config import serve_config
    from watchglass.server.config_error import ConfigError

    given.update(allow_host=allow_host or (), allow_origin=allow_origin or (), tenant=tenant or ())
    try:
        config = serve_config(**given)
    except ConfigError as fault:
        raise UsageFault(str(fault)) from None
    from watchglass.server.serving import run
    from watchglass.store.garbage import leave_unsearched

    code = run(config)
    leave_unsearched()
    raise typer.Exit(code)
