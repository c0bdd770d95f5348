"""A server's life: bind, open, tell, serve, drain, leave.

    start   bind ─▶ token ─▶ store and runtime ─▶ accept ─▶ announce: one line, one file
    signal  changes are refused, workers leave, observers watch them end
            ─▶ the store closes ─▶ feeds say why and close ─▶ connections close
    again   a second signal does not wait for workers: their trees are killed

SIGINT and SIGTERM are the same and end with exit code 0. After `serve` no
process, no task, no socket and no discovery file is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from watchglass.protocol.errors import shown
from watchglass.runtime import Runtime, open_runtime
from watchglass.store.memory import MemoryStore, open_memory_store
from watchglass.store.numbering import rfc3339

from .app import Application, create_app
from .auth import WILDCARDS, access, bracketed
from .config import ConfigError, Secret, ServeConfig
from .connections import Connections
from .json_log import logging_json
from .local import (
    Discovery,
    LocalFault,
    announce,
    local_token,
    start_ticks,
    state_directory,
    token_path,
    withdraw,
)

EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130
_KEEP_ALIVE_IDLE_S, _KEEP_ALIVE_INTERVAL_S, _KEEP_ALIVE_PROBES = 60, 15, 4
_LOG = logging.getLogger(__name__)


def run(config: ServeConfig) -> int:
    """Serve until a signal; the exit code. A fault of the configuration is one line and code 2."""
    with logging_json(config.log_level):
        try:
            asyncio.run(serve(config))
        except (ConfigError, LocalFault) as fault:
            _say(f"watchglass: {fault}")
            return EXIT_USAGE
        except KeyboardInterrupt:  # Before the signal had a handler.
            return EXIT_INTERRUPTED
    return 0


async def serve(config: ServeConfig) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises:
        ConfigError: The address cannot be bound; nothing was started.
        LocalFault: The state directory cannot be used; nothing was started.
    """
    with _signals() as asked, contextlib.closing(_bind(config)) as listener:
        state = state_directory()
        config = _with_local_token(config, state)
        async with (
            open_memory_store(config.retention) as store,
            open_runtime(config.runtime, store) as runtime,
        ):
            _raise_file_limit()
            host, port = listener.getsockname()[:2]
            app = create_app(
                runtime,
                access(
                    host=host,
                    port=port,
                    token=config.token,
                    allowed_hosts=(*config.allowed_hosts, *_bound_name(config, port)),
                    origins=config.allowed_origins,
                ),
                config.feed,
            )
            connections = Connections(app, stall_s=config.feed.stall_s)
            async with connections.accepting(listener, close_s=config.feed.close_s):
                async with _announced(config, state, runtime, host, port):
                    _LOG.info("serving", extra={"config": repr(config), "port": port})
                    await asked.stop.wait()
                _LOG.info("stopping")
                await _leave(runtime, store, app, asked, close_s=config.feed.close_s)


@dataclass(slots=True)
class _Asked:
    """What signals asked for."""

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    hurry: asyncio.Event = field(default_factory=asyncio.Event)

    def signalled(self) -> None:
        """One more signal."""
        (self.hurry if self.stop.is_set() else self.stop).set()


async def _leave(
    runtime: Runtime, store: MemoryStore, app: Application, asked: _Asked, *, close_s: float
) -> None:
    """End the workers while observers watch, then the feeds."""
    await _drain(runtime, asked)
    await store.close()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(close_s):
            await app.feeds.wait_none_open()


async def _drain(runtime: Runtime, asked: _Asked) -> None:
    async with asyncio.TaskGroup() as tasks:
        hurrying = tasks.create_task(_abandon_when(asked.hurry, runtime))
        await runtime.drain()
        if not asked.hurry.is_set():
            hurrying.cancel()


async def _abandon_when(hurry: asyncio.Event, runtime: Runtime) -> None:
    await hurry.wait()
    await runtime.abandon()


@contextmanager
def _signals() -> Iterator[_Asked]:
    asked = _Asked()
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, asked.signalled)
    try:
        yield asked
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


@asynccontextmanager
async def _announced(
    config: ServeConfig, state: Path, runtime: Runtime, host: str, port: int
) -> AsyncIterator[None]:
    """Tell people and this user's clients that the server listens."""
    reached = bracketed(WILDCARDS.get(host, host))
    discovery = Discovery(
        url=f"http://{reached}:{port}",
        pid=os.getpid(),
        pid_start_ticks=start_ticks(os.getpid()) or 0,
        runtime_id=runtime.runtime_id,
        display_name=config.runtime.display_name,
        token_file=None if config.token_file is None else str(config.token_file),
        started_at=rfc3339(runtime.started_us),
    )
    try:
        announce(state, discovery)
    except LocalFault as fault:  # Whoever knows the address can do without.
        _LOG.warning("clients will not find this server by themselves: %s", fault)
    try:
        if not config.auth:
            _say(
                "watchglass: WARNING: --no-auth: every program on this machine can run commands through this"
            )
        _say(f"watchglass listening on http://{bracketed(host)}:{port} (runtime {runtime.runtime_id})")
        yield
    finally:
        withdraw(state, runtime.runtime_id, os.getpid())


def _with_local_token(config: ServeConfig, state: Path) -> ServeConfig:
    """The same with the state directory's token, when no other is given."""
    if not config.auth or config.token is not None:
        return config
    return replace(config, token=Secret(local_token(state)), token_file=token_path(state))


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
        raise ConfigError(f"--bind {shown(where)}: {fault.strerror or fault}") from None
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEP_ALIVE_IDLE_S)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEP_ALIVE_INTERVAL_S)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _KEEP_ALIVE_PROBES)
    return listener


def _raise_file_limit() -> None:
    """As many open files as we may have. The spawn daemon is there by now: workers keep their limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
