"""Export and import over the wire: real servers, real processes, uploads that are cut, refused, killed."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from support.api import Api
from support.archives import file, folder, members_of, packed
from support.feed import in_thread, journal, names, observing
from support.patience import PATIENCE_S
from support.processes import rss_bytes, wait_true
from support.serving import Place, Served, durable_server, serving

FLAGS = ["--runtime-id=rt-archives", "--grace-ms=300", "--import-max-bytes=100000000"]
IMPORT = "/v1/workers/import"
MIB = 1 << 20
SPEAKER = 'echo one; echo two >&2; printf "\\377\\001" ; cd; echo made > file; ln -s file link; cat'


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """Another server, with a store on disk."""
    state = tmp_path_factory.mktemp("elsewhere")
    flags = ("--store=fs", "--runtime-id=rt-elsewhere", "--grace-ms=300")
    with serving(state, *flags, afresh=True) as served:
        yield Api(served)
        served.drain()


def spoken(api: Api, worker_id: str) -> None:
    """A worker that has said something, and has ended."""
    api.create("sh", "-c", SPEAKER, worker_id=worker_id, metadata={"a": "b"})
    api.say(worker_id, "hello")
    api.act(worker_id, "close-stdin", {})
    wait_true(lambda: api.worker(worker_id)["exit"] is not None, "it does not end")


def export(api: Api, worker_id: str) -> bytes:
    answer = api.request("GET", f"/v1/workers/{worker_id}/export")
    assert answer.status == 200, answer
    assert answer.headers["content-type"] == "application/x-tar"
    assert answer.headers["content-disposition"] == f'attachment; filename="{worker_id}.tar"'
    return answer.body


def told(worker: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in worker.items() if name not in {"runtime_id", "worker_ref"}}


@pytest.mark.trio
async def test_a_worker_moves_from_one_server_to_another(served: Served, elsewhere: Api) -> None:
    api = Api(served)
    await in_thread(spoken, elsewhere, "moves")
    data = await in_thread(export, elsewhere, "moves")
    answer = await in_thread(api.request, "POST", IMPORT, data)
    assert answer.status == 200, answer
    assert (answer.json["left_out"], answer.json["left_out_count"]) == ([], 0)
    was = await in_thread(elsewhere.worker, "moves")
    now = await in_thread(api.worker, "moves")
    assert answer.json["worker"] == now
    assert (now["runtime_id"], now["worker_ref"]["runtime_id"]) == ("rt-archives", "rt-archives")
    assert told(now) == told(was)
    for stream in ("stdout", "stderr"):
        raw = await in_thread(elsewhere.log, "moves", stream)
        assert raw
        assert await in_thread(api.log, "moves", stream) == raw
    events = await journal(elsewhere.served, "moves")
    assert await journal(served, "moves") == events
    async with observing(served, "moves", events[2]["cursor"]) as observer:
        await observer.event()  # The snapshot.
        assert await observer.until("end") == events[3:]
    path = "/v1/workers/moves/transcript"
    said = (await in_thread(elsewhere.get, path))["transcript"]["items"]
    assert [told(entry) for entry in (await in_thread(api.get, path))["transcript"]["items"]] == [
        told(entry) for entry in said
    ]
    assert names(events)[-1] == "end"


def test_chunks_of_any_size_are_an_archive(api: Api) -> None:
    data = packed(members_of("chunked", folder("workspace"), file("workspace/f", b"x" * 5000)))
    chunks = [data[start : start + 700] for start in range(0, len(data), 700)]
    answer = api.request("POST", IMPORT, chunks=chunks)
    assert (answer.status, answer.json["worker"]["worker_id"]) == (200, "chunked")
    assert api.request("POST", IMPORT, chunks=chunks).code == "worker_exists"


def test_a_worker_that_has_the_name_of_the_endpoint_is_a_worker(api: Api) -> None:
    api.create(worker_id="import")
    assert api.worker("import")["phase"] == "running"
    api.act("import", "stop")
    assert api.request("DELETE", "/v1/workers/import").status == 204


def test_a_head_has_no_body(api: Api) -> None:
    api.create(worker_id="headed")
    api.act("headed", "stop")
    answer = api.request("HEAD", "/v1/workers/headed/export")
    assert (answer.status, answer.body) == (200, b"")


def test_the_token_is_asked_for(api: Api) -> None:
    assert api.request("POST", IMPORT, b"x", headers={"Authorization": ""}).code == "unauthorized"
    assert api.request("GET", "/v1/workers/x/export", headers={"Authorization": ""}).code == "unauthorized"


@pytest.mark.parametrize("is_told", [True, False])
def test_an_archive_over_the_bound_is_refused_with_the_bound(api: Api, *, is_told: bool) -> None:
    """Told by its length it is refused at once, and otherwise when the bound is passed."""
    head = packed(members_of("huge", file("stdout.log", bytes(MIB))))[: MIB // 2]
    connection = api.connection()
    connection.putrequest("POST", IMPORT)
    connection.putheader("Authorization", f"Bearer {api.served.token}")
    length = ("Content-Length", str(200_000_000)) if is_told else ("Transfer-Encoding", "chunked")
    connection.putheader(*length)
    connection.endheaders()
    with suppress(ConnectionError):  # It need not take what it refuses; the answer is there.
        connection.send(head if is_told else b"%x\r\n%b\r\n" % (len(head), head))
        for _ in range(0 if is_told else 120):
            connection.send(b"%x\r\n%b\r\n" % (MIB, bytes(MIB)))
    response = connection.getresponse()
    error = json.loads(response.read())["error"]
    connection.close()
    assert response.status == 413
    assert error["code"] == "body_too_large"
    assert "100000000" in error["message"]
    assert api.request("GET", "/v1/workers/huge").status == 404


def test_a_refusal_reaches_a_sender_that_goes_on_and_frees_the_connection(api: Api) -> None:
    """Nothing of the server waits for what nobody will take any more."""
    api.create(worker_id="taken")
    data = packed(members_of("taken", file("stdout.log", bytes(60 * MIB))))
    before = open_sockets(api.served)
    for _ in range(3):
        connection = http.client.HTTPConnection(api.served.host, api.served.port, timeout=PATIENCE_S)
        with suppress(ConnectionError):
            connection.request("POST", IMPORT, data, {"Authorization": f"Bearer {api.served.token}"})
        assert json.loads(connection.getresponse().read())["error"]["code"] == "worker_exists"
        connection.close()
    wait_true(lambda: open_sockets(api.served) <= before, "a refused upload keeps its connection")


def open_sockets(served: Served) -> int:
    folder = Path(f"/proc/{served.process.pid}/fd")
    count = 0
    for link in folder.iterdir():
        with suppress(FileNotFoundError):  # Closed since it was listed.
            count += "socket" in str(link.readlink())
    return count


def test_an_upload_that_is_cut_keeps_nothing(elsewhere: Api) -> None:
    data = packed(members_of("cut", file("stdout.log", bytes(4 * MIB))))
    connection = elsewhere.connection()
    connection.putrequest("POST", IMPORT)
    connection.putheader("Authorization", f"Bearer {elsewhere.served.token}")
    connection.putheader("Content-Length", str(len(data)))
    connection.endheaders()
    connection.send(data[: 2 * MIB])
    store = elsewhere.served.state_dir / "store" / "runtimes" / "rt-elsewhere"
    wait_true(lambda: any(store.glob("incoming-*/files/stdout.log")), "it does not arrive")
    connection.close()
    wait_true(lambda: not any(store.glob("incoming-*")), "something is left of it")
    assert elsewhere.request("GET", "/v1/workers/cut").status == 404
    assert elsewhere.request("POST", IMPORT, data).status == 200


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with durable_server(tmp_path, "--grace-ms=300", runtime_id="rt-arrivals") as place:
        yield place


def test_a_kill_during_an_import_leaves_nothing(place: Place) -> None:
    data = packed(members_of("w", folder("workspace"), file("workspace/f", bytes(4 * MIB))))
    with place.serving() as served:
        api = Api(served)
        connection = api.connection()
        connection.putrequest("POST", IMPORT)
        connection.putheader("Authorization", f"Bearer {served.token}")
        connection.putheader("Content-Length", str(len(data)))
        connection.endheaders()
        connection.send(data[: 2 * MIB])
        wait_true(lambda: any(place.runtime_dir.glob("incoming-*/files/workspace/f")), "it does not arrive")
        place.kill()
        connection.close()
    assert any(place.runtime_dir.glob("incoming-*"))
    with place.serving() as served:
        api = Api(served)
        assert api.get("/v1/workers")["workers"] == []
        assert api.get("/v1/diagnostics")["diagnostics"] == []
        assert not any(place.runtime_dir.glob("incoming-*"))
        assert api.request("POST", IMPORT, data).status == 200
        place.kill()  # What was answered survives it.
    with place.serving() as served:
        api = Api(served)
        assert api.worker("w")["phase"] == "stopped"
        assert (place.worker_dir("w") / "workspace" / "f").stat().st_size == 4 * MIB
        created = api.create(worker_id="later")
        assert created["head"] > api.worker("w")["head"]


def test_an_export_is_whole_while_others_read_the_logs(elsewhere: Api) -> None:
    elsewhere.create("sh", "-c", f"head -c {8 * MIB} /dev/zero | tr '\\0' x >&2", worker_id="read")
    wait_true(lambda: elsewhere.worker("read")["exit"] is not None, "it does not end")
    finished = threading.Event()
    seen: list[int] = []

    def read() -> None:
        while not finished.is_set() or not seen:
            seen.append(len(elsewhere.log("read", "stderr")))

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    data = export(elsewhere, "read")
    finished.set()
    for reader in readers:
        reader.join()
    assert set(seen) == {8 * MIB}
    elsewhere.request("DELETE", "/v1/workers/read")
    assert elsewhere.request("POST", IMPORT, data).status == 200
    assert elsewhere.log("read", "stderr") == b"x" * (8 * MIB)


def test_the_server_s_memory_stays_flat_whatever_the_worker_has(elsewhere: Api) -> None:
    size_bytes = 60 * MIB
    elsewhere.create("sh", "-c", f"cd; head -c {size_bytes} /dev/urandom > large", worker_id="large")
    wait_true(lambda: elsewhere.worker("large")["exit"] is not None, "it does not end")
    pid = elsewhere.served.process.pid
    before = rss_bytes(pid)
    peak = before
    pieces: list[bytes] = []
    connection = elsewhere.connection()
    connection.request(
        "GET", "/v1/workers/large/export", headers={"Authorization": f"Bearer {elsewhere.served.token}"}
    )
    response = connection.getresponse()
    while piece := response.read(MIB):
        pieces.append(piece)
        peak = max(peak, rss_bytes(pid))
    connection.close()
    elsewhere.request("DELETE", "/v1/workers/large")

    def watched() -> Iterator[bytes]:
        nonlocal peak
        for piece in pieces:
            peak = max(peak, rss_bytes(pid))
            yield piece

    connection = elsewhere.connection()
    connection.request("POST", IMPORT, watched(), {"Authorization": f"Bearer {elsewhere.served.token}"})
    assert connection.getresponse().status == 200
    connection.close()
    assert sum(map(len, pieces)) > size_bytes
    assert max(peak, rss_bytes(pid)) - before < 30 * MIB
