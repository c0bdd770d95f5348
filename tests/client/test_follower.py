"""A follower of a real server, over connections that are cut."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from watchglass.client import follower as followers
from watchglass.client.address import Address
from watchglass.client.call import worker_path
from watchglass.client.faults import ApiError, Unreachable
from watchglass.client.follower import Follower
from watchglass.client.http import Client
from watchglass.protocol.said import FeedRefused, Joined, Told

from support.proxy import cutting
from support.serving import Served, serving
from support.unanswered import unanswered

EVENTS = 300
END_S = 30


def said_text(number: int) -> str:
    return f"{number} " * 200


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("follower"), "--allow-host", "127.0.0.1") as server:
        yield server


@pytest.fixture
def client(served: Served) -> Iterator[Client]:
    with Client(Address(served.url, served.token)) as client:
        yield client


@pytest.fixture
def worker(client: Client) -> str:
    """A passive worker with a journal of its own."""
    return str(client.post("/v1/workers", {})["worker"]["worker_id"])


def say(client: Client, worker: str, numbers: range) -> None:
    events = [{"event": "text_delta", "data": {"text": said_text(number)}} for number in numbers]
    client.post(worker_path(worker, "events"), {"events": events})


def told(follower: Follower) -> list[str]:
    return [f"{said.cursor} {said.name}" for said in follower if isinstance(said, Told)]


@pytest.mark.parametrize("cut_after_bytes", [1, 300, 1500, 5000, 50_000])
def test_over_connections_that_are_cut_everything_comes_exactly_once(
    served: Served, client: Client, worker: str, cut_after_bytes: int
) -> None:
    say(client, worker, range(EVENTS))
    client.post(worker_path(worker, "stop"))
    address = Address(served.url, served.token)
    with Follower(lambda: address, worker, cursor="earliest") as follower:
        whole = told(follower)
    cuts = [cut_after_bytes] * 3
    with cutting(served.host, served.port, cuts) as proxy:
        through = Address(proxy.url, served.token)
        with Follower(lambda: through, worker, cursor="earliest") as follower:
            assert told(follower) == whole
        assert proxy.cuts_made >= 1
    assert len(whole) > EVENTS


def test_what_is_said_while_a_reader_is_away_is_there_when_it_comes_back(
    served: Served, client: Client, worker: str
) -> None:
    with cutting(served.host, served.port) as proxy:
        through = Address(proxy.url, served.token)
        seen: list[str] = []
        with Follower(lambda: through, worker) as follower:
            for said in follower:
                if isinstance(said, Joined) and follower.connections == 1:
                    say(client, worker, range(1))
                elif isinstance(said, Told):
                    seen.append(said.data.get("text", said.name))
                    if len(seen) == 1:
                        proxy.cut()
                        say(client, worker, range(1, 50))
                        client.post(worker_path(worker, "stop"))
            assert follower.ended
            assert follower.connections == 2
    assert seen[:50] == [said_text(number) for number in range(50)]
    assert seen[-1] == "end"


def test_a_severed_follower_comes_back_by_itself(served: Served, client: Client, worker: str) -> None:
    say(client, worker, range(EVENTS))
    address = Address(served.url, served.token)
    seen = []
    with Follower(lambda: address, worker, cursor="earliest") as follower:
        for said in follower:
            if isinstance(said, Told):
                seen.append(said.cursor)
                if len(seen) == 10:
                    follower.sever()
                    say(client, worker, range(EVENTS))  # What only the next connection can bring.
                    client.post(worker_path(worker, "stop"))
        assert follower.connections == 2
    assert len(seen) == len(set(seen)) > 2 * EVENTS


def test_leaving_ends_the_iteration_at_once_and_keeps_the_place(
    served: Served, client: Client, worker: str
) -> None:
    address = Address(served.url, served.token)
    with Follower(lambda: address, worker) as follower:
        for said in follower:
            assert isinstance(said, Joined)
            threading.Thread(target=follower.leave).start()
        assert not follower.ended
        assert follower.cursor == said.cursor


def test_a_worker_that_has_ended_lets_a_reader_at_its_end_go(
    served: Served, client: Client, worker: str
) -> None:
    client.post(worker_path(worker, "stop"))
    address = Address(served.url, served.token)
    with Follower(lambda: address, worker) as follower:
        assert [type(said) for said in follower] == [Joined]
        assert follower.ended


def test_a_follower_goes_to_where_the_runtime_is_now(served: Served, client: Client, worker: str) -> None:
    client.post(worker_path(worker, "stop"))
    places = [Address("http://127.0.0.1:9", served.token), Address(served.url, served.token)]
    with Follower(
        lambda: places.pop(0) if len(places) > 1 else places[0], worker, cursor="earliest"
    ) as follower:
        assert told(follower)[-1].endswith(" end")


def test_a_worker_that_is_not_there_is_told_at_once(served: Served) -> None:
    address = Address(served.url, served.token)
    with Follower(lambda: address, "nobody") as follower, pytest.raises(ApiError) as caught:
        list(follower)
    assert (caught.value.status, caught.value.code) == (404, "worker_not_found")


def test_a_wrong_token_is_told_at_once(served: Served, worker: str) -> None:
    address = Address(served.url, "wrong")
    with Follower(lambda: address, worker) as follower, pytest.raises(ApiError) as caught:
        list(follower)
    assert caught.value.code == "unauthorized"


def test_a_cursor_that_is_no_event_is_refused_for_good(served: Served, worker: str) -> None:
    address = Address(served.url, served.token)
    with Follower(lambda: address, worker, cursor="wo_ffffffffffffffff") as follower:
        with pytest.raises(FeedRefused) as caught:
            list(follower)
        assert caught.value.code == "runtime.cursor_unknown_or_expired"


def test_where_nobody_answers_a_follower_gives_up_after_its_patience(tmp_path: Path) -> None:
    address = Address("http://127.0.0.1:9")
    with Follower(lambda: address, "wk", patience_s=0.2) as follower, pytest.raises(Unreachable):
        list(follower)


@pytest.fixture
def leaving(monkeypatch: pytest.MonkeyPatch) -> Callable[[Address, Callable[[], None]], None]:
    """Has somebody follow a runtime there, waits for what is given, leaves, and waits for the end of that."""
    monkeypatch.setattr(followers, "OPEN_TIMEOUT_S", 2 * END_S)

    def leave(address: Address, wait: Callable[[], None]) -> None:
        with Follower(lambda: address, "wk") as follower:
            following = threading.Thread(target=lambda: list(follower), daemon=True)
            following.start()
            wait()
            follower.leave()
            following.join(END_S)
            assert not following.is_alive()

    return leave


def test_who_leaves_waits_for_no_connection(leaving: Callable[..., None]) -> None:
    with unanswered() as nowhere:
        leaving(Address(nowhere.url), nowhere.wait_somebody)


def test_who_leaves_waits_for_no_runtime_that_does_not_answer(leaving: Callable[..., None]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as peers:

        def asked() -> None:
            assert peers.enter_context(listener.accept()[0]).recv(1) == b"G", "for the upgrade"

        leaving(Address(f"http://127.0.0.1:{listener.getsockname()[1]}"), asked)


def test_who_leaves_waits_for_no_tls_handshake(leaving: Callable[..., None]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as peers:

        def greeted() -> None:
            assert peers.enter_context(listener.accept()[0]).recv(1) == b"\x16"

        leaving(Address(f"https://127.0.0.1:{listener.getsockname()[1]}"), greeted)


def test_a_follower_may_be_left_as_often_as_one_likes_and_when_it_is_over() -> None:
    follower = Follower(lambda: Address("http://127.0.0.1:9"), "wk")

    def leave() -> None:
        for _ in range(10_000):
            follower.leave()

    leaving = threading.Thread(target=leave, daemon=True)
    leaving.start()
    leaving.join(END_S)
    assert not leaving.is_alive()
    assert list(follower) == []
    follower.close()
    follower.leave()
