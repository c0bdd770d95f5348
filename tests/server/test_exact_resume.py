"""Exact resume: for any cuts at any bytes, on every transport and store, a reader gets exactly the log."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchglass.protocol.cursor import BEGINNING
from watchglass.store.base import Log

from support.following import EVERY_TRANSPORT, TRANSPORTS, Reading, follow
from support.inprocess import InProcess
from support.proxy import Fate, cutting
from support.stores import OPENERS, read_all
from support.tasks import soon
from support.watched import SPEAKING_SOON, stop, url, watched

pytestmark = pytest.mark.asyncio
Json = dict[str, Any]

NAMES = ("text_delta", "of_my_own", 'with "quotes"', "line\nbreak", "é")
PLACES = st.one_of(st.integers(1, 900), st.integers(1, 20_000))
CUTS = st.lists(
    st.one_of(
        PLACES,
        st.builds(Fate, st.integers(1, 400), st.just("reset"), st.just("client")),
        st.builds(
            Fate, PLACES, st.sampled_from(["close", "pause"]), piece_bytes=st.sampled_from([1, 7, 4096])
        ),
    ),
    max_size=8,
)
"""Cuts after so many bytes of either side; some connections bring bytes one by one, or pause."""
BATCHES = st.lists(st.integers(1, 60), min_size=1, max_size=8)


def produced(first: int, count: int) -> bytes:
    """A request for so many events of mixed names and sizes."""
    events = [
        {"event": NAMES[n % len(NAMES)], "data": {"text": "x" * (n * 37 % 200), "n": n}}
        for n in range(first, first + count)
    ]
    return orjson.dumps({"events": events})


async def write(server: InProcess, batches: list[int]) -> None:
    """Append them while readers read, then end the worker."""
    first = 0
    for count in batches:
        answer = await server.ask("POST", "/v1/workers/w/events", produced(first, count))
        assert answer.status == 200
        first += count
        await asyncio.sleep(0)
    await stop(server)


async def logged(server: InProcess) -> list[Json]:
    """The worker's log, as it is kept."""
    log: Log = await server.store.open("w", lambda _records, _events: None)
    return [orjson.loads(record.line) for record in await read_all(log, after=BEGINNING)]


def without_prev(envelopes: list[Json]) -> list[Json]:
    """The envelopes as the journal has them."""
    return [{name: value for name, value in each.items() if name != "prev"} for each in envelopes]


@pytest.mark.parametrize("transport", EVERY_TRANSPORT)
@pytest.mark.parametrize("store", ["memory", "fs-os"])
@settings(max_examples=5)
@given(cuts=CUTS, batches=BATCHES, late=st.booleans())
async def test_any_cuts_at_any_bytes_leave_exactly_the_log(
    transport: str, store: str, cuts: list[int | Fate], batches: list[int], late: bool
) -> None:
    await read_with_cuts(transport, store, cuts, batches, late=late)


@pytest.mark.soak
@pytest.mark.parametrize("transport", EVERY_TRANSPORT)
@pytest.mark.parametrize("store", ["memory", "fs-os"])
@settings(max_examples=30)
@given(cuts=CUTS, batches=BATCHES, late=st.booleans())
async def test_many_more_cuts_do_too(
    transport: str, store: str, cuts: list[int | Fate], batches: list[int], late: bool
) -> None:
    await read_with_cuts(transport, store, cuts, batches, late=late)


async def read_with_cuts(
    transport: str, store: str, cuts: list[int | Fate], batches: list[int], *, late: bool
) -> None:
    """Read to the end through a network that cuts; `late`: all of it is there before."""
    async with watched(bounds=SPEAKING_SOON, opener=OPENERS[store], hosts=("127.0.0.1",)) as server:
        with cutting("127.0.0.1", server.port, cuts) as proxy:
            if late:
                await write(server, batches)
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(follow(transport, proxy.url, Reading("w")))
                if not late:
                    await write(server, batches)
        got = reading.result()
        assert got.resets == []
        assert without_prev(got.envelopes) == await logged(server)
        await soon(server.app.feeds.wait_none_open())


@pytest.mark.parametrize("store", ["memory", "fs-os"])
async def test_from_every_place_each_transport_gives_exactly_what_follows(store: str) -> None:
    async with watched(opener=OPENERS[store], hosts=("127.0.0.1",)) as server:
        await write(server, [20])
        log = await logged(server)
        for place, envelope in enumerate(log):
            at_the_end = place == len(log) - 1  # There version 1 stays open and says nothing.
            for transport in TRANSPORTS if at_the_end else EVERY_TRANSPORT:
                reading = await follow(transport, url(server), Reading("w", envelope["cursor"]), retry=False)
                assert without_prev(reading.envelopes) == log[place + 1 :]


@pytest.mark.parametrize("transport", TRANSPORTS)
@settings(max_examples=5)
@given(cuts=CUTS, batches=BATCHES, types=st.sets(st.sampled_from(["text_delta", "é", "end"]), min_size=1))
async def test_a_filtered_reader_that_is_cut_gets_exactly_what_passes(
    transport: str, cuts: list[int | Fate], batches: list[int], types: set[str]
) -> None:
    async with watched(bounds=SPEAKING_SOON, hosts=("127.0.0.1",)) as server:
        with cutting("127.0.0.1", server.port, cuts) as proxy:
            query = f"&types={'%2C'.join(sorted(types)).replace('é', '%C3%A9')}"
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(follow(transport, proxy.url, Reading("w", query=query)))
                await write(server, batches)
        passing = [each for each in await logged(server) if each["payload"]["event"] in types]
        assert without_prev(reading.result().envelopes) == passing
