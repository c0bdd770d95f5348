"""The HTTP client, against a real server and against what is none."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from watchglass.client.address import Address
from watchglass.client.call import worker_path
from watchglass.client.faults import ApiError, BadAnswer, Unreachable
from watchglass.client.follower import Follower
from watchglass.client.http import Client

from support.serving import Served, serving


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("http")) as server:
        yield server


@contextmanager
def answering(*answers: bytes) -> Iterator[str]:
    """A socket that gives one answer to each connection, then closes it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            for text in answers:
                connection, _ = listener.accept()
                with connection:
                    asked = b""
                    while b"\r\n\r\n" not in asked and (piece := connection.recv(65536)):
                        asked += piece
                    connection.sendall(text)

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


def test_json_goes_in_and_out(served: Served) -> None:
    with Client(Address(served.url, served.token)) as client:
        worker = client.post("/v1/workers", {"metadata": {"grüße": "☃"}})["worker"]
        assert client.get(worker_path(worker["worker_id"]))["worker"]["metadata"] == {"grüße": "☃"}


def test_a_refusal_is_an_error_with_its_code(served: Served) -> None:
    with Client(Address(served.url, served.token)) as client, pytest.raises(ApiError) as caught:
        client.get(worker_path("nobody"))
    assert (caught.value.status, caught.value.code) == (404, "worker_not_found")
    assert "nobody" in caught.value.message


def test_a_worker_id_cannot_name_another_path(served: Served) -> None:
    with Client(Address(served.url, served.token)) as client, pytest.raises(ApiError) as caught:
        client.get(worker_path("../runtime"))
    assert caught.value.status in {400, 404}


def test_a_missing_token_is_unauthorized(served: Served) -> None:
    with Client(Address(served.url)) as client, pytest.raises(ApiError) as caught:
        client.get("/v1/runtime")
    assert (caught.value.status, caught.value.code) == (401, "unauthorized")


def test_bytes_come_as_they_are(served: Served) -> None:
    with Client(Address(served.url, served.token)) as client:
        execution = {"program": "/usr/bin/printf", "args": ["\\000\\377"]}
        worker = client.post("/v1/workers", {"execution": execution})["worker"]["worker_id"]
        with Follower(lambda: client.address, worker, cursor="earliest") as follower:
            list(follower)
        assert client.get_bytes(worker_path(worker, "logs", "stdout")) == b"\x00\xff"
        client.delete(worker_path(worker))


def test_a_connection_is_kept_and_a_closed_one_replaced() -> None:
    ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
    with answering(ok, ok) as url, Client(Address(url)) as client:
        assert client.get("/") == {}
        assert client.get("/") == {}


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (b"", Unreachable),
        (b"SSH-2.0-OpenSSH\r\n", Unreachable),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", BadAnswer),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", BadAnswer),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", Unreachable),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\n\r\nno", ApiError),
    ],
)
def test_what_is_no_runtime_is_told_in_one_word(answer: bytes, fault: type[Exception]) -> None:
    with answering(answer) as url, Client(Address(url)) as client, pytest.raises(fault) as caught:
        client.get("/v1/runtime")
    assert "\n" not in str(caught.value)


def test_where_nobody_listens_is_unreachable() -> None:
    with Client(Address("http://127.0.0.1:9")) as client, pytest.raises(Unreachable, match="refused"):
        client.get("/v1/runtime")


@pytest.mark.parametrize(
    "url", ["", "localhost:80", "ftp://host", "http://", "http://h:99999", "http://u:p@h", "http://h/?x=1"]
)
def test_a_url_that_is_none_of_a_runtime_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Address(url)


def test_no_repr_shows_the_token() -> None:
    assert "secret" not in repr(Address("http://h", "secret"))


def test_a_download_is_given_in_pieces_and_one_that_is_cut_raises() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
    with answering(head + b"0\r\n\r\n") as url, Client(Address(url)) as client:
        assert b"".join(client.download("/x")) == b"hello"
    with answering(head) as url, Client(Address(url)) as client, pytest.raises(Unreachable, match="cut off"):
        list(client.download("/x"))


def test_a_download_that_is_refused_is_the_refusal(served: Served) -> None:
    with Client(Address(served.url, served.token)) as client, pytest.raises(ApiError) as caught:
        list(client.download(worker_path("nobody", "export")))
    assert caught.value.code == "worker_not_found"


def test_an_upload_that_is_refused_is_the_refusal_whether_its_size_is_known_or_not(served: Served) -> None:
    with Client(Address(served.url, served.token)) as client:
        for size_bytes in (600, None):
            with pytest.raises(ApiError) as caught:
                client.upload("/v1/workers/import", [b"x" * 300, b"x" * 300], size_bytes)
            assert caught.value.code == "archive_invalid"


def test_what_cannot_be_read_for_an_upload_is_the_readers_fault(served: Served) -> None:
    def broken() -> Iterator[bytes]:
        yield b"x"
        raise OSError(5, "Input/output error", "archive.tar")

    with Client(Address(served.url, served.token)) as client, pytest.raises(OSError, match=r"archive\.tar"):
        client.upload("/v1/workers/import", broken(), None)
