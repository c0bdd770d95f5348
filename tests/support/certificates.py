"""Certificates made on the spot: an authority, what it signed, and one that signed itself."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from watchglass.server.tls import TlsFiles

takes_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="takes openssl, to make certificates"
)

_KEY: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
NAMES: Final = "DNS:localhost,DNS:glass.example,IP:127.0.0.1,IP:::1"


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key."""

    cert: Path
    key: Path

    @property
    def files(self) -> TlsFiles:
        """The same as a server knows it."""
        return TlsFiles(cert=self.cert, key=self.key)

    @property
    def flags(self) -> tuple[str, str]:
        """What `serve` is told."""
        return f"--tls-cert={self.cert}", f"--tls-key={self.key}"


def self_signed(folder: Path, name: str = "self", names: str = "DNS:glass.example") -> Pair:
    """One that nobody vouches for."""
    pair = _pair(folder, name)
    _openssl(
        "req", "-x509", *_KEY, "-keyout", pair.key, "-out", pair.cert, "-subj", f"/CN={name}", "-days", "2",
        "-addext", f"subjectAltName={names}",
    )  # fmt: skip
    return pair


def signed(folder: Path, authority: Pair, name: str = "server", names: str = NAMES, days: int = 2) -> Pair:
    """One that an authority vouches for; with negative `days` it is out of date."""
    pair, request, facts = _pair(folder, name), folder / f"{name}.csr", folder / f"{name}.ext"
    facts.write_text(f"basicConstraints=CA:FALSE\nsubjectAltName={names}\n")
    _openssl("req", *_KEY, "-keyout", pair.key, "-out", request, "-subj", f"/CN={name}")
    _openssl(
        "x509", "-req", "-in", request, "-CA", authority.cert, "-CAkey", authority.key, "-set_serial", "1",
        "-days", str(days), "-extfile", facts, "-out", pair.cert,
    )  # fmt: skip
    return pair


def encrypted(key: Path, to: Path, password: str) -> Path:
    """The same key behind a password."""
    _openssl("pkey", "-in", key, "-aes256", "-passout", f"pass:{password}", "-out", to)
    return to


def _pair(folder: Path, name: str) -> Pair:
    return Pair(folder / f"{name}.pem", folder / f"{name}.key")


def _openssl(*arguments: str | Path) -> None:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
