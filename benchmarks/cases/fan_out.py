"""One worker's events at many observers, beside what sends the same bytes more barely.

Server and observers are on a core of their own each. The appends are in the
path, with the journal in files; the observers have shown a token.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec

from host import allow_open_files, cores, on_core
from jetstream import fanned_out as jetstream_fanned_out
from jetstream import nats_server
from receiving import crowded, fanned_out, paced
from report import Case, Measured, Row, Scale, Spread, Target, interleaved
from sender import envelope

BURST = 16


def run(scale: Scale) -> list[Row]:
    """A passive worker whose producer appends in bursts; the next when all have the last."""
    allow_open_files()
    server_core, client_core = cores()
    many = scale.of(1000, 50)
    ways: dict[str, Callable[[], Measured]] = {}

    def add(way: str, observers: int, burst: int, deliveries: int) -> None:
        bursts = max(3, scale.of(deliveries, 2000) // (observers * burst))
        measure = partial(fanned_out, way, scale.directory, server_core, observers, burst, bursts)
        ways[_name(way, observers, burst)] = measure

    for way in ("ours", "bare"):
        for observers in (1, 10, 100, many):
            add(way, observers, BURST, 1_000_000 if observers >= 100 else 100_000)
        add(way, 100, 1, 200_000)
        add(way, many, 1, 200_000)
    add("os", 100, BURST, 500_000)
    add("os", 100, 1, 100_000)
    for way in ("plain", "quart", *(["picows"] if find_spec("picows") else [])):
        add(way, 100, BURST, 60_000)
    if nats_server() is not None:
        events = [envelope(number) for number in range(BURST)]
        for observers in (1, 100):
            bursts = max(3, scale.of(100_000, 2000) // (observers * BURST))
            ways[_name("jetstream", observers, BURST)] = partial(
                jetstream_fanned_out, scale.directory, server_core, observers, events, bursts
            )
    seconds = scale.of(3, 1)
    ways["paced"] = partial(paced, "ours", scale.directory, server_core, 100, 1000, seconds)
    workers, rate = scale.of(200, 10), scale.of(50, 10)
    ways["crowd"] = partial(
        crowded, scale.directory, server_core,
        workers=workers, observers_each=5, rate_each=rate, seconds=seconds,
    )  # fmt: skip
    with on_core(client_core):
        seen = interleaved(scale.repetitions, ways)
    return [
        *_rows(seen, many),
        *_crowd_rows(seen["crowd"], f"{workers} workers, 5 observers each, {rate} events a second each"),
    ]


def _rows(seen: dict[str, dict[str, Spread]], many: int) -> list[Row]:
    unit = "deliveries a second"
    rows = []
    for observers in (1, 10, 100, many):
        target = Target("≥", 0.45, of_reference=True) if observers >= 100 else None
        ours, bare = (seen[_name(way, observers, BURST)]["rate"] for way in ("ours", "bare"))
        who = f"{observers} observer{'s' if observers > 1 else ''}"
        rows.append(
            Row(f"{who}, bursts of {BURST}; `socket.send` of the same bytes", unit, ours, bare, target)
        )
    for observers, least in ((100, 0.6), (many, 0.4)):
        ours, bare = (seen[_name(way, observers, 1)]["rate"] for way in ("ours", "bare"))
        what = f"{observers} observers, one event at a time; `socket.send` of the same bytes"
        rows.append(Row(what, unit, ours, bare, Target("≥", least, of_reference=True)))
    for burst, how in ((BURST, f"bursts of {BURST}"), (1, "one event at a time")):
        unsynced, bare = (seen[_name(way, 100, burst)]["rate"] for way in ("os", "bare"))
        what = f"100 observers, {how}, with `--durability os`; `socket.send` of the same bytes"
        rows.append(Row(what, unit, unsynced, bare))
    ours = seen[_name("ours", 100, BURST)]["rate"]
    for way, what, target in (
        ("quart", "`await websocket.send` of a Quart route", Target("≥", 40, of_reference=True)),
        ("picows", "picows, a `send` for each", Target("≥", 8, of_reference=True)),
        ("plain", "the same feed with `--no-ready-frames`", None),
    ):
        if (name := _name(way, 100, BURST)) in seen:
            rows.append(
                Row(f"100 observers, bursts of {BURST}; {what}", unit, ours, seen[name]["rate"], target)
            )
    for observers in (1, 100):
        if (name := _name("jetstream", observers, BURST)) in seen:
            who = f"{observers} observer{'s' if observers > 1 else ''}"
            what = f"{who}, bursts of {BURST}; NATS JetStream, ordered consumers"
            rows.append(Row(what, unit, seen[_name("ours", observers, BURST)]["rate"], seen[name]["rate"]))
    what = "100 observers, 1,000 events a second, from append to receipt,"
    rows += [
        Row(f"{what} p50", "ms", seen["paced"]["p50"], target=Target("≤", 1)),
        Row(f"{what} p99", "ms", seen["paced"]["p99"], target=Target("≤", 10)),
    ]
    return rows


def _crowd_rows(crowd: dict[str, Spread], what: str) -> list[Row]:
    return [
        Row(f"{what}, delivered", "events a second", crowd["rate"]),
        Row(f"{what}, from append to receipt, p50", "ms", crowd["p50"]),
        Row(f"{what}, from append to receipt, p99", "ms", crowd["p99"]),
        Row(f"{what}, the server's processor time", "% of a core", crowd["cpu"]),
    ]


def _name(way: str, observers: int, burst: int) -> str:
    return f"{way} {observers} {burst}"


CASE = Case("fan_out", "One worker, many observers (reference: what the row names)", run)
