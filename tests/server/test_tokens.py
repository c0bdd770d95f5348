"""The file of tokens, and the server's view of it."""

from __future__ import annotations

import json
import logging
import stat
import threading
from pathlib import Path

import pytest

from watchglass.client.local import LocalFault
from watchglass.protocol.scopes import Grant, TokenScope
from watchglass.server.tokens import TokenBook
from watchglass.server.tokens_file import (
    PREFIX,
    TokenEntry,
    change_tokens,
    digest_of,
    new_token,
    read_tokens,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tokens.jsonl"


def entry(name: str, token: str = "", *, scope: str = "observe", worker_id: str | None = None) -> TokenEntry:
    digest = digest_of((token or name).encode()).hex()
    return TokenEntry(name=name, scope=TokenScope(scope), worker_id=worker_id, sha256=digest)


def put(path: Path, *entries: TokenEntry) -> None:
    change_tokens(path, lambda _: entries)


def test_what_is_written_is_read_back_in_order(path: Path) -> None:
    put(path, entry("b", scope="drive", worker_id="w"), entry("a"))
    assert read_tokens(path) == [entry("b", scope="drive", worker_id="w"), entry("a")]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(each.name for each in path.parent.iterdir()) == [path.name]


def test_the_file_has_no_token(path: Path) -> None:
    token = new_token()
    put(path, entry("a", token))
    assert token.encode() not in path.read_bytes()
    assert token.startswith(PREFIX)
    assert len({new_token() for _ in range(100)}) == 100


def test_those_who_change_it_at_once_lose_nothing_of_each_other(path: Path) -> None:
    def add(first: int) -> None:
        for number in range(first, first + 20):
            change_tokens(path, lambda entries, name=f"t{number}": [*entries, entry(name)])  # type: ignore[misc]

    threads = [threading.Thread(target=add, args=(first,)) for first in (0, 100, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {each.name for each in read_tokens(path)} == {
        f"t{first + number}" for first in (0, 100, 200) for number in range(20)
    }


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620, 0o666])
def test_a_file_that_others_may_read_or_write_is_refused(path: Path, mode: int) -> None:
    put(path, entry("a"))
    path.chmod(mode)
    with pytest.raises(LocalFault, match="chmod 600"):
        read_tokens(path)


GOOD = {"name": "a", "scope": "observe", "sha256": "0" * 64}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("secret-token", "not JSON"),
        ("[]", "no JSON object"),
        (json.dumps({**GOOD, "scope": "root"}), "observe, drive, admin"),
        (json.dumps({**GOOD, "scope": ["observe"]}), "unhashable"),
        (json.dumps({**GOOD, "sha256": "0" * 63}), "64"),
        (json.dumps({**GOOD, "sha256": "A" * 64}), "64"),
        (json.dumps({**GOOD, "sha256": None}), "sha256"),
        (json.dumps({**GOOD, "name": "a b"}), "name"),
        (json.dumps({**GOOD, "name": ""}), "name"),
        (json.dumps({**GOOD, "worker_id": "../x"}), "worker_id"),
        (json.dumps({"name": "a", "sha256": "0" * 64}), "scope is missing"),
        (json.dumps({**GOOD, "name": "b"}), "the same token"),
        (json.dumps({**GOOD, "sha256": "1" * 64}), "two tokens named"),
    ],
)
def test_a_line_that_is_no_token_is_named_and_never_shown(path: Path, line: str, reason: str) -> None:
    path.write_text(f"{json.dumps(GOOD)}\n\n{line}\n")
    path.chmod(0o600)
    with pytest.raises(LocalFault, match=reason) as caught:
        read_tokens(path)
    assert "secret-token" not in str(caught.value)


def test_a_name_is_given_once(path: Path) -> None:
    put(path, entry("a"))
    with pytest.raises(LocalFault, match="two tokens named"):
        change_tokens(path, lambda entries: [*entries, entry("a", "other")])
    assert read_tokens(path) == [entry("a")]


def test_a_token_is_known_by_its_text_alone(path: Path) -> None:
    put(path, entry("a", "wg_right", scope="drive", worker_id="w"))
    book = TokenBook(path)
    found = book.caller(b"wg_right")
    assert found is not None
    assert (found.name, found.grant) == ("a", Grant(TokenScope.DRIVE, "w"))
    for wrong in (b"", b"wg_righ", b"wg_right ", b"wg_rightx", digest_of(b"wg_right"), b"a"):
        assert book.caller(wrong) is None


def test_a_change_is_seen_by_the_next_who_asks(path: Path) -> None:
    book = TokenBook(path)
    assert book.caller(b"one") is None
    put(path, entry("one"))
    assert book.caller(b"one") is not None
    put(path, entry("two"))
    assert book.caller(b"one") is None
    assert book.caller(b"two") is not None
    path.unlink()
    assert book.caller(b"two") is None


def test_a_file_that_is_spoilt_lets_nobody_in_until_it_is_right_again(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(path, entry("one"))
    book = TokenBook(path)
    whole = path.read_bytes()
    for spoil in (lambda: path.write_bytes(whole + b"x\n"), lambda: path.chmod(0o644)):
        path.unlink()
        put(path, entry("one"))
        assert book.caller(b"one") is not None
        caplog.clear()
        spoil()
        with caplog.at_level(logging.ERROR):
            assert book.caller(b"one") is None
            assert book.caller(b"one") is None
        assert len(caplog.records) == 1


def test_a_server_does_not_start_on_a_spoilt_file(path: Path) -> None:
    path.write_text("x\n")
    path.chmod(0o600)
    with pytest.raises(LocalFault, match="line 1"):
        TokenBook(path)
