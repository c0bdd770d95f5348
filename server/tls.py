"""The certificate that a server shows, and the key to it.

`tls_files` finds out at the start whether both can be used: it shakes hands with
itself, as a client does that knows this certificate. `Certificate` is what is
served with; it can be read anew while connections are open, and new ones get
the new one.

TLS 1.2 at least (RFC 9325, 3.1), and HTTP/2 or HTTP/1.1 as the client likes (ALPN, RFC 7301).
"""

from __future__ import annotations

import ipaddress
import logging
import os
import ssl
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from watchglass.client.faults import NoTrust
from watchglass.client.trust import Trust, tls_context
from watchglass.protocol.errors import shown

from .config_error import ConfigError
from .plain_requests import TellingContext

ALPN: Final = ("h2", "http/1.1")
FILE_BYTES_MAX: Final = 1 << 20
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
_OTHERS_KEY: Final = frozenset({"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"})
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """Where a server's certificate chain and its key are, in PEM."""

    cert: Path
    key: Path


class Certificate:
    """What is shown to clients: `context` is the server's side, `pem` the certificate, `names` its hosts."""

    def __init__(self, files: TlsFiles) -> None:
        """Read both. Raises ConfigError."""
        self._files = files
        self.context = _bare()
        self.pem, self.names = "", frozenset[str]()
        self.read()

    def read(self) -> None:
        """Read both anew, for connections from now on. Raises ConfigError; then nothing has changed."""
        pem = _leaf(self._files)
        _load(_bare(), self._files)  # A context that half a pair was loaded into shows neither.
        _load(self.context, self._files)
        self.pem, self.names = pem, _names(self.context, pem, self._files)

    def read_again(self) -> bool:
        """As `read`; whether it is another one now. What is wrong with it is logged."""
        before = self.pem
        try:
            self.read()
        except ConfigError as fault:
            _LOG.error("the certificate stays as it was: %s", fault)
        return self.pem != before


def tls_files(cert: str | os.PathLike[str] | None, key: str | os.PathLike[str] | None) -> TlsFiles | None:
    """The files, which can be used; None when neither is given. Raises ConfigError."""
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        given, other = ("--tls-cert", "--tls-key") if key is None else ("--tls-key", "--tls-cert")
        raise ConfigError(f"{given}: TLS takes a certificate and its key; give {other} too")
    files = TlsFiles(cert=Path(cert).absolute(), key=Path(key).absolute())
    Certificate(files)
    return files


def _bare() -> ssl.SSLContext:
    context = TellingContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION  # RFC 9113, 9.2.1.
    context.set_alpn_protocols(list(ALPN))
    return context


def _leaf(files: TlsFiles) -> str:
    """The server's own certificate, the first one of the chain; the key is only looked at."""
    chain = _text("--tls-cert", files.cert)
    begin, end = chain.find(_BEGIN), chain.find(_END)
    if begin < 0 or end < begin:
        raise ConfigError(f"--tls-cert {shown(str(files.cert))}: holds no certificate in PEM")
    if "PRIVATE KEY-----" not in _text("--tls-key", files.key):
        raise ConfigError(f"--tls-key {shown(str(files.key))}: holds no private key in PEM")
    if files.key.stat().st_mode & stat.S_IROTH:
        _LOG.warning("others may read the key %s; run 'chmod o-r %s'", files.key, files.key)
    return f"{chain[begin : end + len(_END)]}\n"


def _text(flag: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(FILE_BYTES_MAX).decode("ascii", "replace")
    except OSError as fault:
        raise ConfigError(f"{flag} {shown(str(path))}: cannot be read: {fault.strerror or fault}") from None


def _load(context: ssl.SSLContext, files: TlsFiles) -> None:
    asked: list[str] = []

    def password() -> bytes:
        asked.append("the key is encrypted")
        return b""

    cert, key = shown(str(files.cert)), shown(str(files.key))
    try:
        context.load_cert_chain(files.cert, files.key, password)
    except ssl.SSLError as fault:
        if asked:
            told = f"--tls-key {key}: is encrypted; 'openssl pkey -in KEY -out FILE' writes one that is not"
        elif fault.reason in _OTHERS_KEY:
            told = f"--tls-key {key}: is not the key of the certificate in --tls-cert {cert}"
        else:
            told = f"--tls-cert {cert} with --tls-key {key}: cannot be used: {_reason(fault)}"
        raise ConfigError(told) from None


def _names(context: ssl.SSLContext, pem: str, files: TlsFiles) -> frozenset[str]:
    """The hosts that it is for, as a client finds them."""
    try:
        told: Any = _handshake(context, tls_context(Trust(certificate=pem)))
    except NoTrust:
        raise ConfigError(
            f"--tls-cert {shown(str(files.cert))}: its first certificate cannot be read"
        ) from None
    except ssl.SSLCertVerificationError as fault:
        _LOG.warning("clients will refuse the certificate %s: %s", files.cert, fault.verify_message)
        return frozenset()
    except ssl.SSLError as fault:
        raise ConfigError(f"--tls-cert {shown(str(files.cert))}: cannot be used: {_reason(fault)}") from None
    return frozenset(
        _as_host(kind, name) for kind, name in told.get("subjectAltName", ()) if kind in {"DNS", "IP Address"}
    )


def _as_host(kind: str, name: str) -> str:
    """As a `Host` header has it; OpenSSL writes IPv6 addresses in full."""
    if kind == "DNS" or ":" not in name:
        return name.lower()
    return f"[{ipaddress.IPv6Address(name)}]"


def _handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> Any:
    """What a client sees of the certificate. Raises SSLError."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    here = client.wrap_bio(down, up, server_side=False)
    there = server.wrap_bio(up, down, server_side=True)
    waiting = [here, there]
    while waiting:
        for side in list(waiting):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(side)
    return here.getpeercert()


def _reason(fault: ssl.SSLError) -> str:
    return (fault.reason or str(fault)).lower().replace("_", " ")
