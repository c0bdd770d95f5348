"""A worker leaves as an archive and comes back as it was, in any store; what is refused keeps nothing."""

from __future__ import annotations

import asyncio
import io
import stat
import tarfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from watchglass.protocol.errors import (
    ArchiveInvalid,
    ResourceLimitExceeded,
    RuntimeFault,
    RuntimeStopped,
    StoreIo,
    WorkerActive,
    WorkerExists,
    WorkerNotFound,
)
from watchglass.protocol.events import ProducedEvent
from watchglass.protocol.workers import LifecycleRequest, WorkerExit, WorkerInput
from watchglass.runtime import Runtime, RuntimeOptions, open_runtime
from watchglass.runtime.archives import IMPORTS_AT_ONCE, Imported
from watchglass.store.base import Retention, Store
from watchglass.store.memory import system_clock_us

from support.agents import CAT
from support.archives import (
    ended_record,
    file,
    folder,
    in_pieces,
    members_of,
    note_of,
    packed,
    with_member,
)
from support.known_host import known_host
from support.stores import OPENERS
from support.tasks import begun, soon, until
from support.workers import request_of

pytestmark = pytest.mark.asyncio

SCRIPT = """
cd "$HOME"; mkdir -p src/deep; echo code > src/deep/a.py; ln -s deep/a.py src/a; ln -s /etc/passwd out
printf '\\377\\000raw'; echo err >&2; echo made > made; chmod 640 made; cat
"""


@asynccontextmanager
async def running(kind: str, **options: Any) -> AsyncIterator[tuple[Runtime, Store]]:
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(OPENERS[kind](Retention(), system_clock_us))
        told = RuntimeOptions(grace_ms=300, **options)
        runtime = await stack.enter_async_context(
            open_runtime(told, store, capabilities=await known_host(told))
        )
        yield runtime, store


@pytest_asyncio.fixture(params=["memory", "fs"])
async def here(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Runtime, Store]]:
    async with running(request.param) as opened:
        yield opened


@pytest_asyncio.fixture
async def there() -> AsyncIterator[tuple[Runtime, Store]]:
    async with running("fs") as opened:
        yield opened


async def exported(runtime: Runtime, worker_id: str = "w") -> bytes:
    return b"".join([piece async for piece in await runtime.export_worker(worker_id)])


async def bring(runtime: Runtime, data: bytes, piece_bytes: int = 10_000) -> Imported:
    return await runtime.import_worker(in_pieces(data, piece_bytes))


async def ended(runtime: Runtime, worker_id: str = "w") -> None:
    """A worker of every kind of content, to its end."""
    execution = {"kind": "script", "script": SCRIPT, "env": {"KEY": "very-secret"}}
    await runtime.create_worker(
        request_of(
            worker_id=worker_id,
            execution=execution,
            metadata={"team": "blue"},
            control_context={"labels": {"a": "b"}},
        ),
        idempotency_key="once",
    )
    await runtime.send_input(worker_id, WorkerInput(content="hello"))
    await runtime.close_stdin(worker_id)
    await until(lambda: runtime.worker(worker_id).exit is not None)
    await runtime.stop(worker_id)


async def journal(runtime: Runtime, worker_id: str = "w", cursor: str = "earliest") -> list[bytes]:
    """The lines after a cursor."""
    lines: list[bytes] = []
    async with runtime.observe(worker_id, cursor) as reader:
        while reader.position < reader.as_of:
            lines += [record.line for record in await soon(reader.next_batch())]
    return lines


def files_of(directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in sorted((directory / "workspace").rglob("*")):
        said = path.lstat()
        content = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[str(path.relative_to(directory))] = (
            content,
            stat.S_IMODE(said.st_mode),
            said.st_mtime_ns // 1000,
        )
    return found


async def transcript(runtime: Runtime) -> list[tuple[int, str, str, str]]:
    window = await runtime.transcript("w", None, 100)
    return [(entry.sequence, entry.role, entry.content, entry.event_id) for entry in window.items]


def left_behind(store: Store) -> list[str]:
    return [path.name for path in store.path.glob("incoming-*")]


async def test_an_end_for_a_reason_that_we_have_no_words_for_is_explained_by_its_own(
    here: tuple[Runtime, Store],
) -> None:
    """As of a later version."""
    runtime, _ = here
    record = ended_record()
    assert record.end is not None
    end = record.end.model_copy(update={"exit": WorkerExit(code=None, signal=None, reason="evicted")})
    members = with_member(members_of("w"), "worker.json", ended_record(end=end).model_dump_json().encode())
    await bring(runtime, packed(members))
    assert "evicted" in runtime.explain("w").summary


async def test_it_comes_back_as_it_was(here: tuple[Runtime, Store], there: tuple[Runtime, Store]) -> None:
    (origin, origin_store), (runtime, store) = there, here
    await ended(origin)
    data = await exported(origin)
    imported = await bring(runtime, data)
    was, now = origin.worker("w").model_dump(), runtime.worker("w").model_dump()
    assert now["runtime_id"] == runtime.runtime_id
    for told in (was, now):
        del told["runtime_id"], told["worker_ref"]
    assert now == was
    assert imported.worker == runtime.worker("w")
    assert await transcript(runtime) == await transcript(origin)
    lines = await journal(origin)
    assert await journal(runtime) == lines
    for stream in ("stdout", "stderr"):
        kept = origin.output_file("w", stream).read_bytes()
        assert runtime.output_file("w", stream).read_bytes() == kept
        assert kept
    files = files_of(origin_store.directory("w"))
    assert [each.name for each in imported.left_out] == ["workspace/out"]
    assert "leads out" in imported.left_out[0].reason
    assert imported.left_out_count == 1
    del files["workspace/out"]
    assert files_of(store.directory("w")) == files
    assert left_behind(store) == []


async def test_an_observer_resumes_with_the_cursor_it_has(
    here: tuple[Runtime, Store], there: tuple[Runtime, Store]
) -> None:
    (origin, _), (runtime, _) = there, here
    await ended(origin)
    lines = await journal(origin)
    await bring(runtime, await exported(origin))
    cursor = lines[3][len('{"cursor":"') :][:19].decode()
    assert await journal(runtime, cursor=cursor) == lines[4:]


async def test_what_came_leaves_as_the_same_archive(
    here: tuple[Runtime, Store], there: tuple[Runtime, Store]
) -> None:
    (origin, _), (runtime, _) = there, here
    await ended(origin)
    first = await exported(origin)
    await bring(runtime, first)
    again = await exported(runtime)

    def content(data: bytes) -> dict[str, bytes]:
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            return {
                member.name: extracted.read()
                for member in tar
                if (extracted := tar.extractfile(member) if member.isreg() else None) is not None
            }

    was, now = content(first), content(again)
    for changing in ("format.json", "SHA256SUMS", "left-out.jsonl"):
        del was[changing], now[changing]
    assert now == was


async def test_no_secret_and_no_key_of_a_caller_leaves(there: tuple[Runtime, Store]) -> None:
    runtime, _ = there
    await ended(runtime)
    data = await exported(runtime)
    assert b"very-secret" not in data
    assert b'"once"' not in data
    await runtime.remove("w")
    await bring(runtime, data)
    assert runtime.worker("w").metadata == {"team": "blue"}


async def test_a_passive_worker_comes_back_too(here: tuple[Runtime, Store]) -> None:
    runtime, _ = here
    await runtime.create_worker(request_of(worker_id="w"))
    await runtime.append_events("w", [ProducedEvent(event="text_done", data={"text": "said"})])
    await runtime.stop("w", LifecycleRequest(reason="enough"))
    was, lines = runtime.worker("w"), await journal(runtime)
    data = await exported(runtime)
    await runtime.remove("w")
    await bring(runtime, data)
    assert runtime.worker("w") == was
    assert await journal(runtime) == lines


async def test_what_retention_dropped_stays_told_of(here: tuple[Runtime, Store]) -> None:
    runtime, _ = here
    narrow = Retention(max_events=10)
    async with (
        OPENERS["memory"](narrow, system_clock_us) as store,
        open_runtime(RuntimeOptions(), store) as origin,
    ):
        await origin.create_worker(request_of(worker_id="w"))
        for number in range(30):
            event = ProducedEvent(event="text_done", data={"text": f"{number}"})
            await origin.append_events("w", [event])
        await origin.stop("w")
        was, said = origin.worker("w"), await transcript(origin)
        await bring(runtime, await exported(origin))
    now = runtime.worker("w")
    assert (now.transcript_len, now.oldest, now.head) == (was.transcript_len, was.oldest, was.head)
    assert now.transcript_len == 30
    assert [entry[:3] for entry in await transcript(runtime)] == [entry[:3] for entry in said]


async def test_only_an_ended_worker_leaves(here: tuple[Runtime, Store]) -> None:
    runtime, _ = here
    await runtime.create_worker(request_of(worker_id="w", execution=CAT))
    with pytest.raises(WorkerActive, match="'w' is running"):
        await exported(runtime)
    with pytest.raises(WorkerNotFound):
        await exported(runtime, "nobody")


async def test_the_runtime_tells_that_it_came_and_that_it_does_not_run(here: tuple[Runtime, Store]) -> None:
    runtime, _ = here
    await bring(runtime, packed(members_of()))
    events = (await runtime.runtime_events(None, None)).events
    assert [event.message for event in events[-2:]] == ["worker w imported", "worker w stopped"]
    summary = runtime.summary()
    assert (summary.worker_count, summary.active_worker_count) == (1, 0)


async def test_workers_are_listed_in_order_of_creation_wherever_they_come_from(
    here: tuple[Runtime, Store],
) -> None:
    runtime, _ = here
    await runtime.create_worker(request_of(worker_id="mine"))
    await bring(runtime, packed(members_of("older")))
    assert [worker.worker_id for worker in runtime.list_workers()[0]] == ["older", "mine"]


async def test_it_is_there_after_a_restart(tmp_path: Path) -> None:
    from watchglass.store.filesystem import open_filesystem_store

    data = packed(members_of("w", folder("workspace"), file("workspace/f", b"kept"), events=1000))
    async with open_filesystem_store(tmp_path) as store, open_runtime(None, store) as runtime:
        await bring(runtime, data)
        was, lines = runtime.worker("w"), await journal(runtime)
    async with open_filesystem_store(tmp_path) as store, open_runtime(None, store) as runtime:
        assert store.findings == []
        assert runtime.worker("w") == was
        assert await journal(runtime) == lines
        assert len(lines) == 1000
        assert (store.directory("w") / "workspace" / "f").read_bytes() == b"kept"
        assert await exported(runtime)


# Refused.


async def refused(runtime: Runtime, data: bytes, fault: type[RuntimeFault], says: str) -> None:
    with pytest.raises(fault, match=says):
        await bring(runtime, data)


async def test_an_id_that_is_there_is_refused_before_all_has_come(here: tuple[Runtime, Store]) -> None:
    runtime, store = here
    await runtime.create_worker(request_of(worker_id="w", execution=CAT))
    data = packed(members_of("w", file("stdout.log", bytes(8 << 20))))
    pieces = in_pieces(data, 512 << 10)
    with pytest.raises(WorkerExists, match="'w' exists already"):
        await soon(runtime.import_worker(pieces))
    assert len([piece async for piece in pieces]) >= 14
    assert runtime.worker("w").phase == "running"
    assert left_behind(store) == []


async def test_an_archive_that_cannot_be_trusted_leaves_nothing(here: tuple[Runtime, Store]) -> None:
    runtime, store = here
    good = packed(members_of("w", folder("workspace"), file("workspace/f", b"x")))
    damaged = bytearray(good)
    damaged[good.index(b"text 1")] ^= 1
    await refused(runtime, bytes(damaged), ArchiveInvalid, "'events.jsonl' of the archive: has the SHA-256")
    await refused(runtime, good[:-2000], ArchiveInvalid, "cut off")
    await refused(runtime, b"", ArchiveInvalid, "cut off after 0 bytes")
    newer = packed(with_member(members_of(), "format.json", note_of(format=2)))
    await refused(runtime, newer, ArchiveInvalid, "says format 2")
    assert runtime.list_workers()[0] == []
    assert left_behind(store) == []
    assert not store.directory("w").exists()
    assert (await bring(runtime, good)).worker.worker_id == "w"


async def test_limits_on_workers_hold() -> None:
    async with running("memory", workers_max=1) as (runtime, store):
        await bring(runtime, packed(members_of("first")))
        await refused(
            runtime, packed(members_of("second")), ResourceLimitExceeded, "1 workers in the catalog"
        )
        await runtime.remove("first")
        await bring(runtime, packed(members_of("second")))
        assert left_behind(store) == []


async def test_a_runtime_that_stops_takes_none(here: tuple[Runtime, Store]) -> None:
    runtime, store = here
    gate = asyncio.Event()
    arriving = await begun(runtime.import_worker(waiting(packed(members_of()), gate)))
    await runtime.drain()
    gate.set()
    with pytest.raises(RuntimeStopped):
        await soon(arriving)
    await refused(runtime, packed(members_of()), RuntimeStopped, "stopping")
    assert left_behind(store) == []
    assert await store.load() == []


async def waiting(data: bytes, gate: asyncio.Event) -> AsyncIterator[bytes]:
    """Half of it; the rest when the gate is open."""
    yield data[:2000]
    await gate.wait()
    yield data[2000:]


async def test_a_sender_that_leaves_leaves_nothing_and_frees_the_id(here: tuple[Runtime, Store]) -> None:
    runtime, store = here
    never = asyncio.Event()
    data = packed(members_of("w", file("stdout.log", b"x" * 1_000_000)))

    async def slow() -> AsyncIterator[bytes]:
        yield data[:600_000]
        await never.wait()

    arriving = await begun(runtime.import_worker(slow()))
    await until(lambda: any(store.path.glob("incoming-*/files/stdout.log")))
    await until(lambda: "w" in runtime._catalog._held)
    with pytest.raises(WorkerExists):
        await runtime.create_worker(request_of(worker_id="w"))
    arriving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(arriving)
    assert left_behind(store) == []
    await bring(runtime, data)


async def test_of_two_imports_of_one_id_one_is_refused(here: tuple[Runtime, Store]) -> None:
    runtime, store = here
    data = packed(members_of())
    outcomes = await asyncio.gather(bring(runtime, data), bring(runtime, data), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Imported", "WorkerExists"]
    assert left_behind(store) == []


async def test_many_imports_take_turns(here: tuple[Runtime, Store]) -> None:
    runtime, store = here
    gate = asyncio.Event()
    arriving = [
        await begun(runtime.import_worker(waiting(packed(members_of(f"w{number}")), gate)))
        for number in range(3 * IMPORTS_AT_ONCE)
    ]
    await until(lambda: len(left_behind(store)) == IMPORTS_AT_ONCE)
    gate.set()
    await soon(asyncio.gather(*arriving))
    assert len(runtime.list_workers()[0]) == 3 * IMPORTS_AT_ONCE
    assert left_behind(store) == []


async def test_an_export_of_what_is_removed_meanwhile_has_no_end(there: tuple[Runtime, Store]) -> None:
    runtime, store = there
    await ended(runtime)
    (store.directory("w") / "workspace" / "large").write_bytes(bytes(3 << 20))
    pieces = await runtime.export_worker("w")
    taken: list[bytes] = []
    while sum(map(len, taken)) < 1 << 20:
        taken.append(await anext(pieces))

    async def go_on() -> None:
        taken.extend([piece async for piece in pieces])

    with (store.directory("w") / "workspace" / "large").open("r+b") as large:
        large.truncate(10)
    with pytest.raises(StoreIo, match="shorter while it was exported"):
        await go_on()
    await runtime.remove("w")
    await refused(runtime, b"".join(taken), ArchiveInvalid, "cut off")


async def test_whoever_stops_taking_an_export_leaves_nothing_open(there: tuple[Runtime, Store]) -> None:
    runtime, store = there
    await ended(runtime)
    (store.directory("w") / "workspace" / "large").write_bytes(bytes(3 << 20))
    pieces = await runtime.export_worker("w")
    await anext(pieces)
    await anext(pieces)
    await pieces.aclose()
    assert await exported(runtime)
