"""Exact resume through the clients: whatever the network does, what a reader got is the log.

The network is a real proxy whose faults hypothesis chooses; the readers are the
three clients, in both versions of the feed and by long poll, on both stores.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from watchglass.client import aio, follower, sockets
from watchglass.client import trio as trio_client
from watchglass.client.async_client import AsyncClient
from watchglass.client.faults import ApiError, Unreachable
from watchglass.protocol.said import Joined, Told

from support.api import Api
from support.proxy import Fate, Proxy, cutting
from support.serving import Served, durable_server, serving
from support.shells import SHELLS, Shell

Json = dict[str, Any]

STORES = ("memory", "fs")
VERSIONS = (1, 2)
SOME = settings(
    max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
MANY = settings(SOME, max_examples=15)

PLACES = st.one_of(st.integers(1, 700), st.integers(1, 20_000))
PIECES = st.sampled_from([1, 3, 1000, 4096])
FATES = st.lists(
    st.one_of(
        st.builds(Fate, PLACES, st.sampled_from(["reset", "close"]), piece_bytes=PIECES),
        st.builds(Fate, PLACES, st.just("pause"), pause_s=st.just(0.05), piece_bytes=PIECES),
        st.builds(Fate, st.integers(1, 400), st.sampled_from(["reset", "close"]), of=st.just("client")),
        st.builds(Fate, delay_s=st.just(0.001), piece_bytes=st.just(500)),
    ),
    max_size=6,
)
BATCHES = st.lists(st.integers(1, 30), min_size=1, max_size=6)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Served]]:
    """One for each store; they answer to the name of a proxy."""
    folder = tmp_path_factory.mktemp("network")
    known_as = "--allow-host=127.0.0.1"
    with (
        serving(folder / "memory", known_as) as memory,
        durable_server(folder / "fs", known_as, "--durability=os", runtime_id="rt-network") as place,
        place.serving() as durable,
    ):
        yield {"memory": memory, "fs": durable}


@pytest.fixture(params=SHELLS, ids=lambda shell: shell.name)
def shell(request: pytest.FixtureRequest) -> Shell:
    found: Shell = request.param
    return found


@contextmanager
def talking(served: Served, batches: Sequence[int]) -> Iterator[str]:
    """A passive worker that says so much, in a thread of its own, and has ended after the block."""
    api = Api(served)
    worker = str(api.create()["worker_id"])

    def talk() -> None:
        for count in batches:
            events = [
                {"event": "text_delta", "data": {"n": n, "text": "é" * (n * 37 % 200)}} for n in range(count)
            ]
            api.post(f"/v1/workers/{worker}/events", {"events": events})
        api.act(worker, "stop")

    thread = threading.Thread(target=talk)
    thread.start()
    try:
        yield worker
    finally:
        thread.join()


def logged(served: Served, worker: str) -> list[Json]:
    """The worker's log, by plain HTTP and without a client of ours."""
    kept: list[Json] = []
    cursor = "earliest"
    while True:
        answer = Api(served).get(f"/v1/workers/{worker}/events?cursor={cursor}&wait_s=0")
        kept += answer["events"]
        cursor = answer["next"]
        if answer["ended"]:
            return kept


def without_prev(envelopes: Sequence[Json]) -> list[Json]:
    return [{name: value for name, value in each.items() if name != "prev"} for each in envelopes]


async def followed(wg: AsyncClient, worker: str, version: int) -> list[Json]:
    """All that a reader is told, who also looks at which version it is told in."""
    told: list[Json] = []
    versions = set()
    async with wg.watch(worker, "earliest") as everything:
        async for said in everything:
            if isinstance(said, Joined):
                versions.add(said.version)
            elif isinstance(said, Told):
                told.append(said.envelope)
    assert versions <= {version}
    return told


async def polled(wg: AsyncClient, worker: str) -> list[Json]:
    """The same by long poll: whoever lost an answer asks again with the cursor it had."""
    told: list[Json] = []
    cursor, ended = "earliest", False
    while not ended:
        try:
            answer = await wg.poll_events(worker, cursor, wait_s=5, limit=20)
        except Unreachable:
            continue
        told += [each.model_dump() for each in answer.events]
        cursor, ended = answer.next, answer.ended
    return told


def read_through(shell: Shell, served: Served, proxy: Proxy, worker: str, version: int | None) -> list[Json]:
    """What a client reads through a proxy; without a version, by long poll."""
    got: list[list[Json]] = []

    async def scenario() -> None:
        async with shell.connect(proxy.url, token=served.token) as wg:
            got.append(await (polled(wg, worker) if version is None else followed(wg, worker, version)))

    shell.run(scenario)
    return got[0]


def check_reading(
    shell: Shell, served: Served, version: int | None, fates: Sequence[Fate], batches: Sequence[int]
) -> None:
    """What is read through a bad network while the worker talks, laid beside the log."""
    with (
        cutting(served.host, served.port, fates, speaks_v2=version != 1) as proxy,
        talking(served, batches) as worker,
    ):
        read = read_through(shell, served, proxy, worker, version)
    assert without_prev(read) == without_prev(logged(served, worker))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("store", STORES)
@SOME
@given(fates=FATES, batches=BATCHES)
def test_whatever_the_network_does_a_reader_gets_exactly_the_log(
    servers: dict[str, Served], shell: Shell, store: str, version: int, fates: list[Fate], batches: list[int]
) -> None:
    check_reading(shell, servers[store], version, fates, batches)


@pytest.mark.parametrize("store", STORES)
@SOME
@given(fates=FATES, batches=BATCHES)
def test_whoever_polls_through_it_gets_exactly_the_log(
    servers: dict[str, Served], shell: Shell, store: str, fates: list[Fate], batches: list[int]
) -> None:
    check_reading(shell, servers[store], None, fates, batches)


@pytest.mark.soak
@pytest.mark.parametrize("version", [*VERSIONS, None])
@pytest.mark.parametrize("store", STORES)
@MANY
@given(fates=FATES, batches=BATCHES)
def test_many_more_networks_leave_exactly_the_log(
    servers: dict[str, Served],
    shell: Shell,
    store: str,
    version: int | None,
    fates: list[Fate],
    batches: list[int],
) -> None:
    check_reading(shell, servers[store], version, fates, batches)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_reader_knows_which_version_it_is_told_in(
    servers: dict[str, Served], shell: Shell, version: int
) -> None:
    served = servers["memory"]

    async def scenario() -> None:
        with cutting(served.host, served.port, speaks_v2=version == 2) as proxy:
            async with shell.connect(proxy.url, token=served.token) as wg:
                worker = await wg.create_worker()
                async with wg.watch(worker.worker_id) as everything:
                    async for said in everything:
                        assert isinstance(said, Joined)
                        assert said.version == version
                        break

    shell.run(scenario)


@pytest.mark.parametrize("after_bytes", [1, 500])
def test_a_connection_that_falls_silent_is_given_up_and_taken_up_again(
    servers: dict[str, Served], shell: Shell, after_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (sockets, follower):
        monkeypatch.setattr(module, "PING_INTERVAL_S", 0.2)
        monkeypatch.setattr(module, "PING_TIMEOUT_S", 0.2)
    for module in (aio, trio_client, follower):
        monkeypatch.setattr(module, "OPEN_TIMEOUT_S", 0.5)
        monkeypatch.setattr(module, "CLOSE_TIMEOUT_S", 0.1)
    check_reading(shell, servers["memory"], 2, [Fate(after_bytes, "stall")] * 2, [30])


def test_a_network_that_cuts_everything_is_not_asked_in_a_hurry(
    servers: dict[str, Served], shell: Shell
) -> None:
    served = servers["memory"]

    async def scenario() -> None:
        async with shell.connect(served.url, token=served.token) as wg:
            worker = (await wg.create_worker()).worker_id
        with cutting(served.host, served.port, [Fate(1)] * 1000) as proxy:
            async with shell.connect(proxy.url, token=served.token) as wg:
                with pytest.raises(Unreachable):
                    async with wg.follow(worker, patience_s=1.0) as events:
                        [event async for event in events]
            assert 3 <= proxy.connections <= 8  # Waits double from 0.05 s at least.

    shell.run(scenario)


def test_an_answer_that_is_cut_at_any_byte_is_no_answer(servers: dict[str, Served], shell: Shell) -> None:
    served = servers["memory"]
    bearer = f"Authorization: Bearer {served.token}\r\nHost: {served.host}\r\n"
    raw = Api(served).raw(f"GET /v1/workers/nobody HTTP/1.1\r\n{bearer}\r\n".encode())
    head = sum(len(name) + len(value) + 4 for name, value in raw.headers.items()) + len(
        "HTTP/1.1 404 \r\n\r\n"
    )
    size = head + len(raw.body)

    async def answer(wg: AsyncClient) -> str:
        with pytest.raises((ApiError, Unreachable)) as caught:
            await wg.worker("nobody")
        if isinstance(caught.value, Unreachable):
            return caught.value.stage
        assert isinstance(caught.value, ApiError)
        return caught.value.code

    async def scenario() -> None:
        fates = [
            Fate(place, "close") for place in range(1, size + 1) for _ in range(2)
        ]  # A read is repeated.
        with cutting(served.host, served.port, fates) as proxy:
            async with shell.connect(proxy.url, token=served.token) as wg:
                told = [await answer(wg) for _ in range(size)]
        whole = told.count("worker_not_found")
        assert told == ["lost"] * (size - whole) + ["worker_not_found"] * whole
        assert 1 <= whole <= 10  # The reason behind the status is not in our count.

    shell.run(scenario)
