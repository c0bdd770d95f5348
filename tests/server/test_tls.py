"""The certificate that serve is told: what can be used, and how it says what cannot."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

from watchglass.protocol.errors import shown
from watchglass.server.config import serve_config
from watchglass.server.flags import ServeFlags
from watchglass.server.tls import Certificate

from support.certificates import Pair, encrypted, self_signed, signed, takes_openssl
from support.refusals import refusal

pytestmark = takes_openssl


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pair]:
    folder = tmp_path_factory.mktemp("certificates")
    authority = self_signed(folder, "authority")
    return {"authority": authority, "server": signed(folder, authority), "self": self_signed(folder)}


def test_a_certificate_and_its_key_are_what_is_spoken_with(made: dict[str, Pair]) -> None:
    pair = made["server"]
    assert serve_config(ServeFlags(tls_cert=pair.cert, tls_key=pair.key)).tls == pair.files
    assert serve_config(ServeFlags()).tls is None


def test_one_without_the_other_is_refused(made: dict[str, Pair]) -> None:
    pair = made["server"]
    assert (
        refusal(tls_cert=pair.cert) == "--tls-cert: TLS takes a certificate and its key; give --tls-key too"
    )
    assert refusal(tls_key=pair.key) == "--tls-key: TLS takes a certificate and its key; give --tls-cert too"


def test_what_cannot_be_read_is_named(made: dict[str, Pair], tmp_path: Path) -> None:
    pair, nothing = made["server"], tmp_path / "nothing"
    assert refusal(tls_cert=nothing, tls_key=pair.key) == (
        f"--tls-cert {shown(str(nothing))}: cannot be read: No such file or directory"
    )
    assert refusal(tls_cert=pair.cert, tls_key=tmp_path) == (
        f"--tls-key {shown(str(tmp_path))}: cannot be read: Is a directory"
    )
    (tmp_path / "words").write_text("no certificate")
    assert "holds no certificate in PEM" in refusal(tls_cert=tmp_path / "words", tls_key=pair.key)
    assert refusal(tls_cert=pair.cert, tls_key=pair.cert) == (
        f"--tls-key {shown(str(pair.cert))}: holds no private key in PEM"
    )
    (tmp_path / "torn").write_text(pair.cert.read_text().replace("M", "#"))
    assert refusal(tls_cert=tmp_path / "torn", tls_key=pair.key).startswith(
        f"--tls-cert '{tmp_path / 'torn'}'"
    )


def test_the_key_of_another_certificate_is_refused(made: dict[str, Pair]) -> None:
    pair, other = made["server"], made["self"]
    assert refusal(tls_cert=pair.cert, tls_key=other.key) == (
        f"--tls-key '{other.key}': is not the key of the certificate in --tls-cert '{pair.cert}'"
    )


def test_an_encrypted_key_is_refused_and_nobody_is_asked_for_a_password(
    made: dict[str, Pair], tmp_path: Path
) -> None:
    pair = made["server"]
    key = encrypted(pair.key, tmp_path / "key", "secret")
    assert refusal(tls_cert=pair.cert, tls_key=key) == (
        f"--tls-key '{key}': is encrypted; 'openssl pkey -in KEY -out FILE' writes one that is not"
    )


def test_what_clients_will_refuse_and_a_key_that_others_may_read_are_told(
    made: dict[str, Pair], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old = signed(tmp_path, made["authority"], "old", days=-1)
    old.key.chmod(0o644)
    Certificate(old.files)
    assert [record.message for record in caplog.records if record.levelno == logging.WARNING] == [
        f"others may read the key {old.key}; run 'chmod o-r {old.key}'",
        f"clients will refuse the certificate {old.cert}: certificate has expired",
    ]


def test_the_names_in_a_certificate_are_names_of_the_server(made: dict[str, Pair]) -> None:
    assert Certificate(made["server"].files).names == {"localhost", "glass.example", "127.0.0.1", "[::1]"}


def test_a_certificate_is_read_anew_and_what_is_wrong_with_it_changes_nothing(
    made: dict[str, Pair], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pair = Pair(tmp_path / "cert", tmp_path / "key")
    place(made["self"], pair)
    certificate = Certificate(pair.files)
    assert certificate.read_again() is False
    shutil.copy(made["server"].cert, pair.cert)  # Its key is still on its way.
    assert certificate.read_again() is False
    assert "the certificate stays as it was: --tls-key" in caplog.text
    assert certificate.pem == made["self"].cert.read_text()
    place(made["server"], pair)
    assert certificate.read_again() is True
    assert certificate.pem == made["server"].cert.read_text()


def place(pair: Pair, at: Pair) -> None:
    """Put a pair where another one was."""
    shutil.copy(pair.cert, at.cert)
    shutil.copy(pair.key, at.key)
