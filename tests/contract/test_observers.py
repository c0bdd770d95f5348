"""Who watches, where they stand, and how far behind: on a real server, over each transport."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest

from support.api import Api
from support.feed import UPGRADE
from support.processes import wait_true
from support.serving import Served, serving
from support.shell import Shell
from support.watching import OF_EVERYBODY, SUBPROTOCOL, TRANSPORTS

FLAGS = ["--runtime-id=rt-observers", "--stall-s=300"]
WAYS = {
    "many frames a call": [],
    "frame by frame": pytest.param(["--no-ready-frames"], marks=pytest.mark.soak),
    "on disk": ["--store=fs"],
}
Json = dict[str, Any]
BIG = "x" * 30_000
SUBPROTOCOLS = {"websocket_v2": SUBPROTOCOL}


@pytest.fixture
def worker(api: Api) -> Iterator[str]:
    worker_id: str = api.create()["worker_id"]
    yield worker_id
    api.act(worker_id, "cancel")
    api.request("DELETE", f"/v1/workers/{worker_id}")


def events_of(worker_id: str) -> str:
    return f"/v1/workers/{worker_id}/events"


def of_everybody(api: Api) -> list[Json]:
    """The observers of everybody."""
    return [each for each in api.get("/v1/observers")["observers"] if each["worker_id"] is None]


def observers(api: Api, worker_id: str) -> list[Json]:
    found: list[Json] = api.get(f"/v1/observers?worker_id={worker_id}")["observers"]
    return found


def say(api: Api, worker_id: str, *texts: str) -> None:
    events = [{"event": "text_delta", "data": {"text": text}} for text in texts]
    api.post(f"/v1/workers/{worker_id}/events", {"events": events})


def metric(api: Api, name: str) -> float:
    """A gauge or a counter of `/metrics`; 0 when it is not there."""
    exposed = api.request("GET", "/metrics").body.decode()
    found = re.search(rf"^{re.escape(name)} (\S+)$", exposed, re.MULTILINE)
    return 0.0 if found is None else float(found[1])


def behind(api: Api, events: str, cursor: str) -> list[Json]:
    """Every event after a cursor, by other means: long polls."""
    found: list[Json] = []
    while True:
        answer = api.get(f"{events}cursor={cursor}&wait_s=0")
        found += answer["events"]
        cursor = answer["next"]
        if answer["up_to_date"]:
            return found


@contextmanager
def deaf(served: Served, events: str, *lines: str) -> Iterator[socket.socket]:
    """An observer that asks and then takes nothing, with as little room as a socket can have."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((served.host, served.port))
        head = "\r\n".join(
            [
                f"GET {events}{lines[0]} HTTP/1.1",
                f"Host: {served.host}:{served.port}",
                f"Authorization: Bearer {served.token}",
                *lines[1:],
            ]
        )
        connection.sendall(f"{head}\r\n\r\n".encode())
        yield connection


UPGRADES = tuple(f"{name}: {value}" for name, value in UPGRADE.items())
DEAF = {
    "websocket_v1": ("/ws?cursor=latest", *UPGRADES),
    "websocket_v2": ("/ws?cursor=latest", *UPGRADES, f"Sec-WebSocket-Protocol: {SUBPROTOCOL}"),
    "sse": ("?cursor=latest", "Accept: text/event-stream"),
}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_an_observer_is_listed_with_all_that_is_known_of_it(
    served: Served, api: Api, worker: str, transport: str
) -> None:
    before_us = time.time_ns() // 1000
    with TRANSPORTS[transport](served, worker):
        wait_true(lambda: [each["cursor"] for each in observers(api, worker)] not in ([], [None]), "it is in")
        [told] = observers(api, worker)
    head = api.worker(worker)["head"]
    host, _, port = told.pop("peer").rpartition(":")
    assert (host, 0 < int(port) < 1 << 16) == ("127.0.0.1", True)
    since_us = datetime.fromisoformat(told.pop("since")).timestamp() * 1e6
    assert before_us - 1 <= since_us <= time.time_ns() / 1000
    assert re.fullmatch(r"ob-\d+", told.pop("observer_id"))
    sent = {name: told.pop(name) for name in ("frames_sent", "bytes_sent")}
    assert (sent["frames_sent"] > 0) == (sent["bytes_sent"] > 0) == (transport != "long_poll")
    assert told == {
        "worker_id": worker,
        "transport": transport,
        "subprotocol": SUBPROTOCOLS.get(transport),
        "token": "local",
        "scope": "admin",
        "filter": {"types": None},
        "cursor": head,
        "lag_events": 0,
        "lag_s": 0.0,
        "overtaken": False,
        "events_sent": 0,
        "waiting_bytes": 0,
    }
    wait_true(lambda: not observers(api, worker), "it has left")


@pytest.mark.parametrize("transport", DEAF)
def test_the_lag_of_one_that_takes_nothing_is_exact(
    served: Served, api: Api, worker: str, transport: str
) -> None:
    with deaf(served, events_of(worker), *DEAF[transport]):
        wait_true(lambda: [each["cursor"] for each in observers(api, worker)] not in ([], [None]), "it is in")
        while not observers(api, worker)[0]["lag_events"]:  # Until the sockets between us are full.
            say(api, worker, *[BIG] * 30)
        say(api, worker, *map(str, range(700)))
        wait_true(lambda: settled(api, worker), "it stands still")
        before_us = time.time_ns() // 1000
        [told] = observers(api, worker)
        after_us = time.time_ns() // 1000
        unsent = behind(api, f"{events_of(worker)}?", told["cursor"])
        assert told["lag_events"] == len(unsent)
        assert told["lag_events"] > 700
        oldest_us = datetime.fromisoformat(unsent[0]["ts"]).timestamp() * 1e6
        assert before_us - oldest_us - 1000 <= told["lag_s"] * 1e6 <= after_us - oldest_us + 1000
        assert told["waiting_bytes"] > 0
        assert told["bytes_sent"] > told["waiting_bytes"]
        with TRANSPORTS[transport](served, worker):
            wait_true(lambda: len(observers(api, worker)) == 2, "another one watches")
            assert observers(api, worker)[1]["lag_events"] == 0
            assert metric(api, "watchglass_feed_lag_events") == len(unsent)
            assert metric(api, "watchglass_feed_lag_seconds") >= told["lag_s"]
            assert metric(api, f'watchglass_feeds_open{{transport="{transport}"}}') == 2
    wait_true(lambda: metric(api, "watchglass_feed_lag_events") == 0, "the slowest has left")
    assert metric(api, "watchglass_feed_lag_seconds") == 0


@pytest.mark.parametrize("transport", OF_EVERYBODY)
def test_an_observer_of_everybody_is_listed_as_one_of_nobody_in_particular(
    served: Served, api: Api, worker: str, transport: str
) -> None:
    with OF_EVERYBODY[transport](served, None):
        wait_true(lambda: [each["cursor"] for each in of_everybody(api)] not in ([], [None]), "it is in")
        [told] = of_everybody(api)
        assert (told["transport"], told["subprotocol"]) == (transport, SUBPROTOCOLS.get(transport))
        assert (told["lag_events"], told["lag_s"], told["overtaken"]) == (0, 0.0, False)
        assert observers(api, worker) == []
    wait_true(lambda: not of_everybody(api), "it has left")


@pytest.mark.parametrize("transport", ["websocket_v2", "sse"])
def test_the_lag_of_one_that_watches_everybody_is_over_all_their_logs(
    served: Served, api: Api, worker: str, transport: str
) -> None:
    other = api.create()["worker_id"]
    place, *lines = DEAF[transport]
    with deaf(served, "/v1/events", f"{place}&workers={worker},{other}", *lines):
        wait_true(lambda: [each["cursor"] for each in of_everybody(api)] not in ([], [None]), "it is in")
        while not of_everybody(api)[0]["lag_events"]:  # Until the sockets between us are full.
            say(api, worker, *[BIG] * 30)
        for number in range(200):
            say(api, (worker, other)[number % 2], str(number))
        wait_true(lambda: len({of_everybody(api)[0]["cursor"] for _ in range(2)}) == 1, "it stands still")
        [told] = of_everybody(api)
        unsent = behind(api, f"/v1/events?workers={worker},{other}&", told["cursor"])
        assert told["lag_events"] == len(unsent) > 200
        assert {each["worker_id"] for each in unsent} >= {worker, other}
        assert metric(api, "watchglass_feed_lag_events") == len(unsent)
    wait_true(lambda: not of_everybody(api), "it has left")
    api.act(other, "cancel")


def settled(api: Api, worker_id: str) -> bool:
    """Whether an observer stands where it stood a moment ago."""
    before, now = (observers(api, worker_id)[0]["cursor"] for _ in range(2))
    return bool(before == now)


@pytest.mark.parametrize("transport", ["websocket_v2", "sse"])
def test_what_a_filter_passes_over_is_no_lag(served: Served, api: Api, worker: str, transport: str) -> None:
    path, *headers = DEAF[transport]
    with deaf(served, events_of(worker), f"{path}&types=exit,end", *headers):
        wait_true(lambda: [each["cursor"] for each in observers(api, worker)] not in ([], [None]), "it is in")
        say(api, worker, *["text"] * 40)
        head = api.worker(worker)["head"]
        wait_true(lambda: observers(api, worker)[0]["cursor"] == head, "it has passed over all of it")
        [told] = observers(api, worker)
        assert (told["filter"], told["lag_events"], told["events_sent"]) == ({"types": ["exit", "end"]}, 0, 0)


@pytest.mark.parametrize("transport", ["websocket_v1", "websocket_v2", "sse"])
def test_what_was_sent_is_counted_while_the_feed_is_open(
    served: Served, api: Api, worker: str, transport: str
) -> None:
    names = [
        f'watchglass_feed_{what}_total{{transport="{transport}"}}' for what in ("frames", "events", "bytes")
    ]
    before = [metric(api, name) for name in names]
    with TRANSPORTS[transport](served, worker):
        say(api, worker, *["text"] * 10)
        wait_true(lambda: sum(each["events_sent"] for each in observers(api, worker)) == 10, "it has all")
        [told] = observers(api, worker)
        grown = [metric(api, name) - known for name, known in zip(names, before, strict=True)]
        assert grown == [told["frames_sent"], told["events_sent"], told["bytes_sent"]]
    wait_true(lambda: not observers(api, worker), "it has left")
    assert [metric(api, name) - known for name, known in zip(names, before, strict=True)] >= grown


def test_one_of_nobody_is_no_list_but_a_refusal(api: Api) -> None:
    assert api.request("GET", "/v1/observers?worker_id=nobody").code == "worker_not_found"
    assert api.request("GET", "/v1/observers?worker_id=.").code == "invalid_worker_id"
    assert api.request("POST", "/v1/observers", {}).code == "method_not_allowed"


def test_the_command_shows_them_in_a_table_and_as_json(served: Served, api: Api, worker: str) -> None:
    shell = Shell(served)
    other = api.create()["worker_id"]
    with TRANSPORTS["websocket_v2"](served, worker), TRANSPORTS["sse"](served, other):
        wait_true(lambda: len(api.get("/v1/observers")["observers"]) == 2, "both watch")
        head, *rows = shell.text("observers").splitlines()
        assert head.split()[:5] == ["OBSERVER", "WORKER", "TRANSPORT", "PEER", "TOKEN"]
        assert [row.split()[1:3] for row in rows] == [[worker, "websocket_v2"], [other, "sse"]]
        [row] = shell.text("observers", other).splitlines()[1:]
        assert row.split()[4] == "local"
        assert [each["worker_id"] for each in shell.json("observers", other)["observers"]] == [other]
    assert shell("observers", "nobody").returncode == 3
    api.act(other, "cancel")


def test_one_that_retention_has_overtaken_is_told_apart(tmp_path: Any) -> None:
    flags = ("--retain-events=1000", "--stall-s=300")
    with serving(tmp_path, *flags) as served:
        api = Api(served)
        worker = api.create()["worker_id"]
        with deaf(served, events_of(worker), *DEAF["websocket_v1"]):
            wait_true(lambda: len(observers(api, worker)) == 1, "it watches")
            while not observers(api, worker)[0]["overtaken"]:
                say(api, worker, *[BIG] * 30)
            [told] = observers(api, worker)
            oldest = api.get(f"/v1/workers/{worker}/events?wait_s=0&limit=1")["oldest"]
            assert told["cursor"] < oldest
            kept = behind(api, f"{events_of(worker)}?", "earliest")
            assert told["lag_events"] == len(kept)
