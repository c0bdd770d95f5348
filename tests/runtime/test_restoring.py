"""A runtime that opens a store where another one worked: who is there, and how."""

from __future__ import annotations

import os
import signal
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import orjson
import pytest

from watchglass.protocol.errors import StoreCorrupt, StoreIo
from watchglass.protocol.events import ProducedEvent
from watchglass.protocol.lifecycle import Phase
from watchglass.protocol.workers import WorkerInput
from watchglass.runtime import Runtime, RuntimeOptions, open_runtime
from watchglass.runtime.catalog import Entry
from watchglass.runtime.restoring import Restoration
from watchglass.runtime.worker import Worker
from watchglass.store.filesystem import FilesystemStore, open_filesystem_store
from watchglass.store.filesystem.files import Files
from watchglass.store.garbage import not_searched
from watchglass.store.worker_record import WorkerRecord

from support.agents import CAT, JSONL_ECHO, python
from support.processes import marked, wait_gone
from support.tasks import soon, until
from support.workers import request_of

pytestmark = pytest.mark.asyncio

Life = Callable[..., AbstractAsyncContextManager[Runtime]]


RUNTIME_ID = f"rt-lives-{os.getpid()}"


@pytest.fixture
def life(tmp_path: Path) -> Iterator[Life]:
    """One life after the other of the same runtime; whoever runs at the end of one goes on."""

    @asynccontextmanager
    async def living(
        *, keep_workers: bool = True, slots: int = 8, files: Files | None = None
    ) -> AsyncIterator[Runtime]:
        options = RuntimeOptions(
            runtime_id=RUNTIME_ID, grace_ms=300, keep_workers=keep_workers, running_workers_max=slots
        )
        async with (
            open_filesystem_store(tmp_path, RUNTIME_ID, files=files) as store,
            open_runtime(options, store) as runtime,
        ):
            yield runtime

    yield living
    left = marked(RUNTIME_ID)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left, "the test ended none of these"


async def say(runtime: Runtime, worker_id: str, content: str) -> None:
    await runtime.send_input(worker_id, WorkerInput(content=content))


async def text_until(runtime: Runtime, worker_id: str, end: str) -> str:
    """All that a worker said, from the beginning to where it says `end`."""
    text = ""
    async with runtime.observe(worker_id, "earliest") as reader:
        async for record in reader:
            payload = orjson.loads(record.line)["payload"]
            text += payload["data"]["text"] if payload["event"] == "text_delta" else ""
            if text.endswith(end):
                break
    return text


async def names(runtime: Runtime, worker_id: str) -> list[str]:
    """Every event of an ended worker."""
    told: list[str] = []
    async with runtime.observe(worker_id, "earliest") as reader:
        async for record in reader:
            told.append(orjson.loads(record.line)["payload"]["event"])
            if told[-1] == "end":
                break
    return told


async def test_a_process_is_the_same_and_what_it_says_goes_on(life: Life) -> None:
    async with life() as runtime:
        before = await runtime.create_worker(request_of(worker_id="w", execution=CAT))
        await say(runtime, "w", "one")
        await soon(text_until(runtime, "w", "one\n"))
        whole = await runtime.transcript("w", None, 10)
    async with life() as runtime:
        after = runtime.worker("w")
        assert (after.pid, after.phase, after.started_at) == (before.pid, Phase.RUNNING, before.started_at)
        assert runtime.summary().reserved.task_slots == 1
        assert (await runtime.transcript("w", None, 10)).items == whole.items
        await say(runtime, "w", "two")
        assert await soon(text_until(runtime, "w", "two\n")) == "one\ntwo\n"
        await runtime.stop("w")
        transcript = await runtime.transcript("w", None, 10)
        assert [item.content for item in transcript.items] == ["one", "one\n", "two", "two\n"]
    async with life() as runtime:
        ended = runtime.worker("w")
        assert (ended.phase, ended.pid, ended.transcript_len) == (Phase.STOPPED, None, 4)
        assert (await runtime.transcript("w", None, 10)).items == transcript.items


async def test_a_creation_that_was_cut_short_is_begun_once(life: Life, tmp_path: Path) -> None:
    request = request_of(execution=CAT, initial_input={"kind": "user", "content": "one"})
    async with open_filesystem_store(tmp_path, RUNTIME_ID) as store:
        record = WorkerRecord(worker_id="w", created_us=1, request=request, plan=None)
        await store.create(record, lambda _records, _events: None)
    async with life() as runtime:
        await say(runtime, "w", "two")
        assert await soon(text_until(runtime, "w", "two\n")) == "one\ntwo\n"
        await runtime.stop("w")


async def test_a_jsonl_worker_goes_on(life: Life) -> None:
    async with life() as runtime:
        request = request_of(worker_id="w", execution=python(JSONL_ECHO), speech="jsonl")
        await runtime.create_worker(request)
        await say(runtime, "w", "one")
        await soon(text_until(runtime, "w", "one"))
    async with life() as runtime:
        await say(runtime, "w", "two three")
        assert await soon(text_until(runtime, "w", "three")) == "onetwothree"
        await runtime.stop("w")


async def test_who_ended_meanwhile_has_its_true_exit_and_all_of_its_output(life: Life) -> None:
    program = "import sys; print(input(), flush=True); sys.exit(7)"
    async with life() as runtime:
        detail = await runtime.create_worker(request_of(worker_id="w", execution=python(program)))
        killed = await runtime.create_worker(request_of(worker_id="k", execution=CAT))
        assert detail.pid is not None
        assert killed.pid is not None
        await say(runtime, "w", "last words")
    os.kill(killed.pid, signal.SIGKILL)
    wait_gone(detail.pid)
    wait_gone(killed.pid)
    async with life() as runtime:
        assert (await soon(names(runtime, "w")))[-3:] == ["exit", "status", "end"]
        assert await soon(text_until(runtime, "w", "\n")) == "last words\n"
        await soon(names(runtime, "k"))
        exits = [runtime.worker(worker_id).exit for worker_id in ("w", "k")]
        assert [(told.code, told.signal, told.reason) for told in exits if told] == [
            (7, None, "exited"),
            (None, signal.SIGKILL, "signalled"),
        ]
        await until(lambda: runtime.summary().reserved.task_slots == 0)


async def test_who_waited_waits_again_with_its_input(life: Life) -> None:
    async with life(slots=1) as runtime:
        await runtime.create_worker(request_of(worker_id="first", execution=CAT))
        await runtime.create_worker(request_of(worker_id="second", execution=CAT))
        await say(runtime, "second", "early")
        assert runtime.worker("second").phase is Phase.ACCEPTED
    async with life(slots=1) as runtime:
        assert runtime.worker("second").phase is Phase.ACCEPTED
        assert runtime.summary().waiting_worker_count == 1
        await say(runtime, "second", "later")
        await runtime.stop("first")
        assert await soon(text_until(runtime, "second", "later\n")) == "early\nlater\n"
        await runtime.stop("second")


async def test_a_passive_worker_goes_on(life: Life) -> None:
    async with life() as runtime:
        before = await runtime.create_worker(request_of(worker_id="p"))
        await runtime.append_events("p", [ProducedEvent(event="text_done", data={"text": "one"})])
    async with life() as runtime:
        assert runtime.worker("p").started_at == before.started_at
        await runtime.append_events("p", [ProducedEvent(event="text_done", data={"text": "two"})])
        await runtime.stop("p")
    async with life() as runtime:
        transcript = await runtime.transcript("p", None, 10)
        assert [item.content for item in transcript.items] == ["one", "two"]
        assert runtime.worker("p").phase is Phase.STOPPED


async def test_a_key_of_an_earlier_life_gives_the_same_worker(life: Life) -> None:
    async with life() as runtime:
        first = await runtime.create_worker(request_of(), idempotency_key="once")
    async with life() as runtime:
        again = await runtime.create_worker(request_of(), idempotency_key="once")
        assert again.worker_id == first.worker_id
        assert len(runtime.list_workers()[0]) == 1


async def test_without_keeping_no_process_is_left_and_every_end_is_told(life: Life) -> None:
    async with life(keep_workers=False) as runtime:
        await runtime.create_worker(request_of(worker_id="w", execution=CAT))
    assert marked(RUNTIME_ID) == set()
    async with life() as runtime:
        assert runtime.worker("w").phase is Phase.STOPPED


async def test_the_secrets_of_an_ended_worker_are_not_on_the_disk(life: Life, tmp_path: Path) -> None:
    async with life() as runtime:
        execution = {**CAT, "env": {"TOKEN": "s3cr3t-value"}}
        await runtime.create_worker(request_of(worker_id="w", execution=execution))
        await runtime.stop("w")
    folder = tmp_path / "runtimes" / RUNTIME_ID / "workers" / "w"
    assert not [path for path in folder.rglob("*") if path.is_file() and b"s3cr3t" in path.read_bytes()]


async def test_a_worker_whose_journal_is_damaged_goes_on_and_nobody_else_notices(
    life: Life, tmp_path: Path
) -> None:
    async with life() as runtime:
        for worker_id in ("w", "whole"):
            await runtime.create_worker(request_of(worker_id=worker_id, execution=CAT))
    for word in ("one", "two", "three"):
        async with life() as runtime:  # What a life leaves in the segment is damaged as one.
            for worker_id in ("w", "whole"):
                await say(runtime, worker_id, word)
                await soon(text_until(runtime, worker_id, f"{word}\n"))
    folder = tmp_path / "runtimes" / RUNTIME_ID / "workers" / "w"
    (folder / "view.json").unlink()
    [segment] = (folder / "events").iterdir()
    data = bytearray(segment.read_bytes())
    data[data.index(b'"one"') + 1] ^= 1
    segment.write_bytes(data)
    async with life() as runtime:
        async with runtime.observe("w", "earliest") as reader:
            await soon(reader.next_batch())  # What lies before the damage.
            with pytest.raises(StoreCorrupt, match=str(segment)):
                await soon(reader.next_batch())
        assert (await runtime.transcript("w", None, 10)).total_items == 0  # What is said from here on.
        async with runtime.observe("w", runtime.worker("w").head) as reader:
            await say(runtime, "w", "four")
            assert b'"four"' in (await reader.next_batch())[0].line
        assert await soon(text_until(runtime, "whole", "three\n")) == "one\ntwo\nthree\n"
        assert [note.code for note in runtime.diagnostics() if note.severity == "error"]
        for worker_id in ("w", "whole"):
            await runtime.stop(worker_id)


async def test_events_of_the_runtime_go_on_with_their_cursor(life: Life) -> None:
    async with life() as runtime:
        await runtime.create_worker(request_of(worker_id="a"))
        cursor = (await runtime.runtime_events(None, None)).next_cursor
    async with life() as runtime:
        batch = await runtime.runtime_events(cursor, None)
        assert [event.kind for event in batch.events] == ["runtime_stopped", "runtime_started"]


async def test_a_removed_worker_of_an_earlier_life_goes_without_a_search_for_garbage(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with life() as runtime:
        await runtime.create_worker(request_of(worker_id="w", execution=CAT))
        await runtime.stop("w")
    met: list[weakref.ref[Worker]] = []
    known = Restoration.known

    async def noting(self: Restoration, record: WorkerRecord) -> Entry:
        entry = await known(self, record)
        met.append(weakref.ref(entry.worker))
        return entry

    monkeypatch.setattr(Restoration, "known", noting)
    async with life() as runtime:
        with not_searched():
            await runtime.remove("w")
            assert [worker() for worker in met] == [None]


class Watched(Files):
    """Notes whose segments are opened, and counts the syncs of write-ahead files."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.rounds = 0
        self._ahead: set[int] = set()
        setattr(self, "open", self._open)  # noqa: B010 - the class has a function there.
        setattr(self, "fdatasync", self._fdatasync)  # noqa: B010 - as above.

    def _open(self, path: str, flags: int, mode: int = 0o777) -> int:
        fd = os.open(path, flags, mode)
        self._ahead.discard(fd)
        if "/journal/wal-" in path:
            self._ahead.add(fd)
        elif "/workers/" in path and path.endswith(".jsonl"):
            self.opened.append(path.split("/")[-3])
        return fd

    def _fdatasync(self, fd: int) -> None:
        self.rounds += fd in self._ahead
        os.fdatasync(fd)


async def test_ends_that_a_loss_of_power_took_are_told_again_together_and_the_next_start_reads_no_journal(
    life: Life, tmp_path: Path
) -> None:
    workers = [f"p-{number}" for number in range(20)]
    async with life() as runtime:
        for worker_id in workers:
            await runtime.create_worker(request_of(worker_id=worker_id))
            await runtime.stop(worker_id)
    folder = tmp_path / "runtimes" / RUNTIME_ID / "workers"
    for worker_id in workers:
        [segment] = (folder / worker_id / "events").iterdir()
        os.truncate(segment, segment.stat().st_size - 10)
    files = Watched()
    async with life(files=files) as runtime:
        assert set(files.opened) == set(workers)
        assert files.rounds < len(workers) // 2
        for worker_id in workers:
            assert (await soon(names(runtime, worker_id)))[-3:] == ["exit", "status", "end"]
        heads = [runtime.worker(worker_id).head for worker_id in workers]
    files = Watched()
    async with life(files=files) as runtime:
        assert files.opened == []
        assert [runtime.worker(worker_id).head for worker_id in workers] == heads
        for worker_id in workers:
            assert (await soon(names(runtime, worker_id))).count("end") == 1


async def test_a_start_that_ended_between_the_last_words_and_the_record_is_made_up_for(
    life: Life, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with life() as runtime:
        await runtime.create_worker(request_of(worker_id="p"))
        await runtime.stop("p")
    [segment] = (tmp_path / "runtimes" / RUNTIME_ID / "workers" / "p" / "events").iterdir()
    os.truncate(segment, segment.stat().st_size - 10)

    async def refused(_self: FilesystemStore, record: WorkerRecord) -> None:
        raise StoreIo("save", record.worker_id, "no room")

    with monkeypatch.context() as patched:
        patched.setattr(FilesystemStore, "save", refused)
        async with life() as runtime:
            assert (await soon(names(runtime, "p"))).count("end") == 1
    async with life() as runtime:
        assert (await soon(names(runtime, "p"))).count("end") == 1, "it was told already"
    files = Watched()
    async with life(files=files):
        assert files.opened == []
