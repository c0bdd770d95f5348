"""A server's life: bind, open, tell, serve, drain, leave.

    start   bind ─▶ token ─▶ store and runtime ─▶ accept ─▶ announce: one line, one file
    leave   changes are refused, workers leave, observers watch them end
            ─▶ the store closes ─▶ feeds say why and close ─▶ connections close
    hangup  SIGHUP: host and certificate are looked at anew, or its terminal is gone (`hangup`)
    again   a second signal does not wait for workers: their trees are killed

`leaving` says who asks, and when workers are kept: then they are let go in
place of ended, one line tells how to come back to them, and the rest is the
same. Either way the exit code is 0, and no task, no socket and no discovery
file is left; no process either, but those that were kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import resource
import shlex
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from watchglass.client.local import (
    LocalFault,
    state_directory,
    token_path,
)
from watchglass.protocol.errors import StoreFault, shown
from watchglass.protocol.lifecycle import WorkerStatus
from watchglass.runtime import Runtime, RuntimeOptions, WorkerFilter, open_runtime
from watchglass.store.base import Store, StoreUnusable
from watchglass.store.garbage import never_searched
from watchglass.store.memory import open_memory_store

from .announcing import Address, Announcement, say
from .app import Application, create_app
from .auth import WILDCARDS, Access, access, bracketed
from .config import DiskStore, ServeConfig
from .config_error import ConfigError
from .connections import Connections
from .given_token import Secret
from .hangup import Hangup, hangups
from .json_log import logging_json
from .leaving import Leaving
from .local import local_token, make_private
from .tls import Certificate
from .tokens import TokenBook, watching
from .tokens_file import tokens_path

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130
_KEEP_ALIVE_IDLE_S, _KEEP_ALIVE_INTERVAL_S, _KEEP_ALIVE_PROBES = 60, 15, 4
_LOG = logging.getLogger(__name__)


def run(config: ServeConfig) -> int:
    """Serve until a signal or a drain; the exit code.

    What cannot be used as it is told (an address, a token, a store) is one line
    and code 2; a store that fails at the start, such as a full disk, is one
    line and code 1.
    """
    with logging_json(config.log_level):
        try:
            asyncio.run(serve(config))
        except (ConfigError, LocalFault, StoreUnusable) as fault:
            say(f"watchglass: {fault}")
            return EXIT_USAGE
        except StoreFault as fault:
            say(f"watchglass: {fault}")
            return EXIT_FAILED
        except KeyboardInterrupt:  # Before the signal had a handler.
            return EXIT_INTERRUPTED
    return 0


async def serve(config: ServeConfig) -> None:
    """Serve until SIGINT, SIGTERM or a drain.

    Raises:
        ConfigError: The address cannot be bound; nothing was started.
        LocalFault: The state directory cannot be used; nothing was started.
        StoreUnusable: The store cannot be opened; nothing was started.
        StoreFault: The store could not be written to; nothing is announced.
    """
    leaving = Leaving(keep_workers=config.runtime.keep_workers)
    with _signals(leaving), contextlib.closing(_bind(config)) as listener:
        state = state_directory()
        config = _with_local_token(config, state)
        certificate = None if config.tls is None else Certificate(config.tls)
        async with _open_store(config, state) as (store, options), open_runtime(options, store) as runtime:
            _raise_file_limit()
            address: Address = listener.getsockname()[:2]
            tokens = _token_book(config, state)
            app = create_app(runtime, _access(config, address, tokens, certificate), leaving, config.feed)
            told = Announcement(config, state, runtime, address, certificate)
            async with (
                hangups(Hangup(again=lambda: _look_again(runtime, told), terminated=leaving.terminated)),
                _connections(config, app, certificate).accepting(listener, close_s=config.feed.close_s),
                watching(tokens, app.feeds.recheck),
            ):
                with told.standing():
                    _LOG.info("serving", extra={"config": repr(config), "port": address[1]})
                    with never_searched():  # A search through all that was restored would hold up every feed.
                        await leaving.asked.wait()
                await _leave(config, runtime, store, app, leaving)


def _access(
    config: ServeConfig, address: Address, tokens: TokenBook | None, certificate: Certificate | None
) -> Access:
    """Who may come, and by which names."""
    host, port = address
    return access(
        host=host,
        port=port,
        token=config.token,
        allowed_hosts=(
            *config.allowed_hosts,
            *_bound_name(config, port),
            *(certificate.names if certificate else ()),
        ),
        origins=config.allowed_origins,
        tokens=tokens,
        secure=certificate is not None,
    )


def _connections(config: ServeConfig, app: Application, certificate: Certificate | None) -> Connections:
    return Connections(
        app,
        stall_s=config.feed.stall_s,
        ready_frames=config.feed.ready_frames,
        tls=None if certificate is None else certificate.context,
    )


def _look_again(runtime: Runtime, told: Announcement) -> None:
    """Something outside has changed: the host, or the certificate."""
    runtime.probe_soon()
    told.renew()


@asynccontextmanager
async def _open_store(config: ServeConfig, state: Path) -> AsyncIterator[tuple[Store, RuntimeOptions]]:
    """The store, and the runtime's options as the store completes them. Raises StoreUnusable, LocalFault."""
    disk = config.store
    if disk is None:
        async with open_memory_store(config.retention) as memory:
            yield memory, config.runtime
        return
    from watchglass.store.filesystem import open_filesystem_store

    if disk.root.is_relative_to(state):
        make_private(state)
    async with open_filesystem_store(
        disk.root, config.runtime.runtime_id, retention=config.retention, durability=disk.durability
    ) as kept:
        yield kept, replace(config.runtime, runtime_id=kept.runtime_id)


async def _leave(
    config: ServeConfig, runtime: Runtime, store: Store, app: Application, leaving: Leaving
) -> None:
    """End the workers while observers watch, or let them go; then the feeds."""
    _LOG.info("stopping", extra={"keeps_workers": leaving.keeps_workers})
    if leaving.keeps_workers:
        await runtime.leave()
    else:
        await _drain(runtime, leaving)
    await store.close()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(config.feed.close_s):
            await app.sessions.leave()
            await app.feeds.wait_none_open()
    if leaving.keeps_workers and config.store is not None:
        _tell_kept(runtime, config.store)


async def _drain(runtime: Runtime, leaving: Leaving) -> None:
    async with asyncio.TaskGroup() as tasks:
        hurrying = tasks.create_task(_abandon_when(leaving.hurried, runtime))
        await runtime.drain()
        if not leaving.hurried.is_set():
            hurrying.cancel()


async def _abandon_when(hurried: asyncio.Event, runtime: Runtime) -> None:
    await hurried.wait()
    await runtime.abandon()


def _tell_kept(runtime: Runtime, disk: DiskStore) -> None:
    """Say which processes go on without us, and how to come back to them."""
    active, _ = runtime.list_workers(WorkerFilter(status=WorkerStatus.RUNNING))
    count = sum(worker.program is not None and worker.started_at is not None for worker in active)
    if count:
        keep, them = ("1 worker keeps", "it") if count == 1 else (f"{count} workers keep", "them")
        again = shlex.join(
            ["watchglass", "serve", "--fs-root", str(disk.root), "--runtime-id", runtime.runtime_id]
        )
        say(f"watchglass: {keep} running; '{again}' adopts {them}, and then 'watchglass drain' ends {them}")


@contextmanager
def _signals(leaving: Leaving) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    heeded = {signal.SIGINT: leaving.interrupted, signal.SIGTERM: leaving.terminated}
    for number, told in heeded.items():
        loop.add_signal_handler(number, told)
    try:
        yield
    finally:
        for number in heeded:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)  # We leave already, and with a code of our own.


def _with_local_token(config: ServeConfig, state: Path) -> ServeConfig:
    """The same with the state directory's token, when no other is given."""
    if not config.auth or config.token is not None:
        return config
    return replace(config, token=Secret(local_token(state)), token_file=token_path(state))


def _token_book(config: ServeConfig, state: Path) -> TokenBook | None:
    """The tokens with fewer rights. Raises LocalFault: their file cannot be used as it is."""
    return TokenBook(config.tokens_file or tokens_path(state)) if config.auth else None


def _bound_name(config: ServeConfig, port: int) -> list[str]:
    """The name that was asked for, beside the address that it came to."""
    return [] if config.host in WILDCARDS else [f"{bracketed(config.host)}:{port}"]


def _bind(config: ServeConfig) -> socket.socket:
    """A listening socket. Its connections send at once, and probe for dead peers.

    asyncio sets TCP_NODELAY only where the socket names its protocol, which one
    of `create_server` does not: an answer's body would wait 40 ms for the
    acknowledgement of its head.
    """
    try:
        found = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        listener = socket.create_server(address, family=family)
    except OSError as fault:
        where = f"{bracketed(config.host)}:{config.port}"
        raise ConfigError(f"--bind {shown(where)}: {_why_unbound(fault)}") from None
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEP_ALIVE_IDLE_S)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEP_ALIVE_INTERVAL_S)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _KEEP_ALIVE_PROBES)
    return listener


def _why_unbound(fault: OSError) -> str:
    """The system's word, without the address again, and what helps."""
    said = os.strerror(fault.errno) if fault.errno and fault.errno > 0 else str(fault.strerror or fault)
    ways = {
        errno.EADDRINUSE: "; stop who listens there, or use another port (0: any free one)",
        errno.EADDRNOTAVAIL: "; use an address of this machine, such as 127.0.0.1",
        errno.EACCES: "; ports below 1024 take more rights, so use a higher one",
    }
    return said + ways.get(fault.errno or 0, "")


def _raise_file_limit() -> None:
    """As many open files as we may have. The spawn daemon is there by now: workers keep their limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
