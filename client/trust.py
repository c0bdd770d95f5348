"""Whose certificates a client takes when it speaks TLS (https, wss).

a file of authorities that is given           what they signed, for the name of this host
a runtime that was found on this machine      its very certificate, as its discovery file has it
WATCHGLASS_CACERT                             as a file that is given
else                                          what this system trusts, for the name of this host

One certificate that is known whole needs no name in it and no authority: nobody
else has its key. It is out of date all the same when its time is over.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .faults import NoTrust

if TYPE_CHECKING:  # Most commands speak to a runtime without TLS, and start without it.
    from ssl import SSLContext, SSLError

_CONTEXTS_MAX: Final = 32
_UNKNOWN_ISSUER: Final = frozenset({2, 18, 19, 20, 21})
"""X509_V_ERR_* of a chain that leads to nobody who is trusted, see X509_verify_cert_error_string(3)."""
_NO_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"})
_GIVE: Final = "give the file of the authority that signed it (--cacert, WATCHGLASS_CACERT)"


@dataclass(frozen=True, slots=True)
class Trust:
    """What is trusted: authorities in a file, or one certificate (PEM); neither: what the system trusts."""

    cacert: Path | None = None
    certificate: str | None = None


@lru_cache(_CONTEXTS_MAX)
def tls_context(trust: Trust) -> SSLContext:
    """The client's side of TLS, 1.2 at least.

    Raises:
        NoTrust: The file cannot be read, or holds no certificate.
    """
    import ssl

    if trust.certificate is not None:
        return _only(trust.certificate)
    if trust.cacert is None:
        return ssl.create_default_context()
    context = _bare()
    try:
        context.load_verify_locations(cafile=trust.cacert)
    except ssl.SSLError:
        raise NoTrust(f"{trust.cacert}: holds no certificate in PEM; {_GIVE}") from None
    except OSError as fault:
        raise NoTrust(f"cannot read {trust.cacert}: {fault.strerror or fault}; {_GIVE}") from fault
    return context


def _only(certificate: str) -> SSLContext:
    """For this one, whoever signed it and whatever names it has."""
    import ssl

    context = _bare()
    context.check_hostname = False
    try:
        context.load_verify_locations(cadata=certificate)
    except ssl.SSLError:
        raise NoTrust("the certificate in the runtime's discovery file is none") from None
    return context


def _bare() -> SSLContext:
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # What is named is trusted, root or not.
    return context


def is_refused_certificate(fault: BaseException) -> bool:
    """Whether the runtime's certificate is why there is no connection."""
    import ssl

    return isinstance(_tls_fault(fault), ssl.SSLCertVerificationError)


def tls_reason(fault: BaseException) -> str | None:
    """What TLS has against a connection, in a few words; None when it is something else."""
    import ssl

    found = _tls_fault(fault)
    if found is None:
        return None
    if isinstance(found, ssl.SSLCertVerificationError):
        said = found.verify_message.rstrip(".")
        advice = f"; {_GIVE}" if found.verify_code in _UNKNOWN_ISSUER else ""
        return f"its certificate is not trusted: {said}{advice}"
    if found.reason in _NO_TLS:
        return "what answers does not speak TLS: use http:// in place of https://"
    return f"TLS failed: {(found.reason or str(found)).lower().replace('_', ' ')}"


def _tls_fault(fault: BaseException | None) -> SSLError | None:
    """It, or what it comes from: each library wraps it in its own."""
    import ssl

    while fault is not None:
        if isinstance(fault, ssl.SSLError):
            return fault
        fault = fault.__cause__ or fault.__context__
    return None
