"""Whom each client trusts when it speaks TLS, and what it says of whom it does not."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from watchglass.client.faults import ApiError, NoTrust, Unreachable
from watchglass.client.finding import Choice, find
from watchglass.client.local import look
from watchglass.client.sync import connect

from support.certificates import Pair, self_signed, signed, takes_openssl
from support.processes import wait_true
from support.proxy import Fate, cutting
from support.serving import Served, environment, serving
from support.shell import command
from support.shells import SHELLS, Shell

pytestmark = takes_openssl


@pytest.fixture(params=SHELLS, ids=lambda shell: shell.name)
def shell(request: pytest.FixtureRequest) -> Shell:
    found: Shell = request.param
    return found


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return self_signed(tmp_path_factory.mktemp("authority"), "authority")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, authority: Pair) -> Iterator[Served]:
    """One that an authority vouches for."""
    folder = tmp_path_factory.mktemp("tls")
    with serving(folder / "state", *signed(folder, authority).flags) as server:
        yield server


def elsewhere(tmp_path: Path) -> dict[str, str]:
    """Where no runtime is known."""
    return environment(tmp_path / "elsewhere")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One that nobody vouches for, nor for this host."""
    folder = tmp_path_factory.mktemp("alone")
    with serving(folder, *self_signed(folder).flags) as server:
        yield server


def test_a_runtime_on_this_machine_is_known_by_its_certificate_whoever_signed_it(
    alone: Served, shell: Shell
) -> None:
    here = environment(alone.state_dir)

    async def scenario() -> None:
        for url in (None, alone.url):
            async with shell.connect(url, environ=here) as wg:
                worker = await wg.create_worker(program="/bin/echo", args=["in", "private"])
                said = [event async for event in wg.follow(worker.worker_id)]
                assert said[-1].name == "end"
        if shell.name != "sync":
            async with shell.connect(environ=here) as wg, wg.session() as session:
                events = [event async for event in session.follow(worker.worker_id)]
                assert [event.cursor for event in events] == [event.cursor for event in said]

    shell.run(scenario)


def test_elsewhere_its_authority_is_named(
    tmp_path: Path, shell: Shell, served: Served, authority: Pair
) -> None:
    named = {**elsewhere(tmp_path), "WATCHGLASS_CACERT": str(authority.cert)}

    async def scenario() -> None:
        async with shell.connect(
            served.url, token=served.token, cacert=authority.cert, environ=elsewhere(tmp_path)
        ) as wg:
            assert (await wg.runtime()).runtime_id == served.runtime_id
        url = served.url.replace("127.0.0.1", "localhost")
        async with shell.connect(url, token=served.token, environ=named) as wg:
            worker = await wg.create_worker(program="/bin/true")
            async for event in wg.follow(worker.worker_id):
                assert event.name != "nothing"
            async with wg.export_worker(worker.worker_id) as pieces:
                archive = b"".join([piece async for piece in pieces])
            await wg.remove_worker(worker.worker_id)
            assert (await wg.import_worker(archive)).worker.worker_id == worker.worker_id

    shell.run(scenario)


def test_who_is_not_trusted_is_told_at_once_and_with_what_to_do(
    tmp_path: Path, shell: Shell, served: Served
) -> None:
    other = self_signed(tmp_path, "other")

    async def scenario() -> None:
        for cacert in (None, other.cert):
            async with shell.connect(served.url, token="t", cacert=cacert, environ=elsewhere(tmp_path)) as wg:
                with pytest.raises(Unreachable, match=r"is not trusted: .*--cacert, WATCHGLASS_CACERT"):
                    await wg.runtime()
                with pytest.raises(Unreachable, match="is not trusted"):
                    async for _ in wg.follow("w", patience_s=3600):
                        pass

    shell.run(scenario)


def test_the_name_of_the_host_must_be_in_a_certificate_that_is_only_vouched_for(
    tmp_path: Path, shell: Shell, alone: Served
) -> None:
    cacert = tmp_path / "authority"
    cacert.write_text(look(alone.state_dir).running[0].certificate or "")

    async def scenario() -> None:
        async with shell.connect(alone.url, token="t", cacert=cacert, environ=elsewhere(tmp_path)) as wg:
            with pytest.raises(Unreachable, match=r"certificate is not valid for '127\.0\.0\.1'"):
                await wg.runtime()

    shell.run(scenario)


CUTS = [
    Fate(1),
    Fate(300, of="client"),
    Fate(1500, "close"),
    Fate(2000, piece_bytes=1),
    Fate(4000, "pause", pause_s=0.05, piece_bytes=100),
    Fate(5000),
    Fate(9000, "close", piece_bytes=1000),
]


def test_a_reader_over_tls_gets_the_log_whatever_is_cut(
    tmp_path: Path, shell: Shell, served: Served, authority: Pair
) -> None:
    with connect(environ=environment(served.state_dir)) as wg:
        worker_id = wg.create_worker().worker_id
        for number in range(20):
            wg.append_events(worker_id, [("text_delta", {"text": "x" * 100 * number})])
        wg.stop(worker_id)
        log = [event.cursor for event in wg.follow(worker_id)]

    async def scenario() -> None:
        with cutting(served.host, served.port, CUTS) as proxy:
            url = proxy.url.replace("http:", "https:")
            async with shell.connect(
                url, token=served.token, cacert=authority.cert, environ=elsewhere(tmp_path)
            ) as wg:
                got = [event.cursor async for event in wg.follow(worker_id)]
            assert proxy.cuts_made >= 4
        assert got == log

    shell.run(scenario)


def test_a_file_that_holds_no_authority_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    empty, environ = tmp_path / "empty", elsewhere(tmp_path)
    empty.touch()
    with pytest.raises(NoTrust, match=r"empty: holds no certificate in PEM; give the file"):
        find(Choice(url="https://h", cacert=empty), environ)
    with pytest.raises(NoTrust, match=r"cannot read .*nothing: No such file or directory; give the file"):
        find(Choice(url="https://h"), {**environ, "WATCHGLASS_CACERT": str(tmp_path / "nothing")})
    assert find(Choice(url="http://h", cacert=empty), environ).address.tls() is None


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One that speaks no TLS."""
    with serving(tmp_path_factory.mktemp("plain")) as server:
        yield server


def test_a_scheme_that_is_not_spoken_there_is_told(
    tmp_path: Path, shell: Shell, served: Served, plain: Served
) -> None:
    async def scenario() -> None:
        secure, bare = plain.url.replace("http:", "https:"), served.url.replace("https:", "http:")
        async with shell.connect(secure, token="t", environ=elsewhere(tmp_path)) as wg:
            with pytest.raises(Unreachable, match="what answers does not speak TLS"):
                await wg.runtime()
        async with shell.connect(bare, token="t", environ=elsewhere(tmp_path)) as wg:
            with pytest.raises(ApiError, match="speaks TLS: use https://") as refused:
                await wg.runtime()
            assert refused.value.code == "tls_required"
            with pytest.raises(ApiError, match="speaks TLS: use https://"):
                async for _ in wg.follow("w"):
                    pass

    shell.run(scenario)
    assert [plain.stderr.count("\n"), served.stderr.count("\n")] == [1, 1]


def test_a_command_says_which_scheme_is_spoken(tmp_path: Path, served: Served, plain: Served) -> None:
    bare, secure = served.url.replace("https:", "http:"), plain.url.replace("http:", "https:")
    for argv in (["ps"], ["attach", "w"], ["events", "-f"], ["run", "--", "true"]):
        done = command(tmp_path, argv[0], "--url", bare, *argv[1:], env={"WATCHGLASS_TOKEN": "t"})
        assert (done.returncode, done.stderr.count(b"\n")) == (5, 1)
        assert b"this port speaks TLS: use https://" in done.stderr
    done = command(tmp_path, "ps", "--url", secure, env={"WATCHGLASS_TOKEN": "t"})
    assert (done.returncode, done.stderr.count(b"\n")) == (5, 1)
    assert b"does not speak TLS: use http:// in place of https://" in done.stderr


def test_a_client_of_before_a_renewal_goes_on_after_it(tmp_path: Path, authority: Pair) -> None:
    pair, here = signed(tmp_path, authority), environment(tmp_path)
    with serving(tmp_path, *pair.flags) as server:
        for shell in SHELLS:
            new = self_signed(tmp_path, f"for-{shell.name}")

            async def scenario(shell: Shell = shell, new: Pair = new) -> None:
                async with shell.connect(environ=here) as wg:
                    shutil.copy(new.cert, pair.cert)
                    shutil.copy(new.key, pair.key)
                    server.process.send_signal(signal.SIGHUP)
                    wait_true(
                        lambda: look(tmp_path).running[0].certificate == new.cert.read_text(),
                        "the certificate is not read anew",
                    )
                    worker = await wg.create_worker(program="/bin/true")
                    assert [event async for event in wg.follow(worker.worker_id)][-1].name == "end"

            shell.run(scenario)


def test_commands_take_an_authority_and_find_a_runtime_here_without(
    tmp_path: Path, served: Served, authority: Pair
) -> None:
    assert command(served.state_dir, "run", "--", "/bin/echo", "seen").stdout == b"seen\n"
    there = ("ps", "--url", served.url, "--token-file", str(served.state_dir / "token"))
    refused = command(tmp_path, *there)
    assert refused.returncode == 5
    assert b"its certificate is not trusted" in refused.stderr
    assert command(tmp_path, *there, "--cacert", str(authority.cert)).returncode == 0
    assert command(tmp_path, *there, env={"WATCHGLASS_CACERT": str(authority.cert)}).returncode == 0
    wrong = command(tmp_path, *there, "--cacert", str(tmp_path / "nothing"))
    assert (wrong.returncode, wrong.stderr.count(b"\n")) == (5, 1)
    assert b"cannot read" in wrong.stderr
