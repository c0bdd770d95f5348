"""Plain HTTP where TLS is spoken: who sends it is told so in plain HTTP, and not hung up on without a word.

    first byte   0x16, a TLS record of a handshake (RFC 8446, 5.1) ──▶ a handshake
                 a letter, as a method begins with (RFC 9110, 9.1) ──▶ 400, `tls_required`

Whoever was told leaves by itself, or is dropped when the time of a handshake is
over; what it says until then is thrown away. To close at once would take the
answer away from who still sends a body (RFC 9112, 9.6).
"""

from __future__ import annotations

import logging
import ssl
from typing import Any, Final

from watchglass.protocol.errors import TlsRequired

from .errors import error_answer

_LOG = logging.getLogger(__name__)


def _answer() -> bytes:
    status, headers, body = error_answer(TlsRequired())
    lines = [f"HTTP/1.1 {status} Bad Request", *(f"{name}: {value}" for name, value in headers.items())]
    lines += [f"content-length: {len(body)}", "connection: close", "", ""]
    return "\r\n".join(lines).encode() + body


ANSWER: Final = _answer()


class TellingContext(ssl.SSLContext):
    """The server's side of TLS, which answers plain HTTP."""

    def wrap_bio(
        self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *args: Any, **more: Any
    ) -> ssl.SSLObject:
        """As `SSLContext.wrap_bio`."""
        side = super().wrap_bio(incoming, outgoing, *args, **more)
        assert isinstance(side, _Side)
        side.incoming, side.outgoing = incoming, outgoing
        return side


class _Side(ssl.SSLObject):
    """One connection's."""

    incoming: ssl.MemoryBIO
    outgoing: ssl.MemoryBIO
    _is_plain: bool | None = None

    def do_handshake(self) -> None:
        """As `SSLObject.do_handshake`; with somebody who speaks no TLS it is never over."""
        if self._is_plain is None and self.incoming.pending:
            self._look()
        if self._is_plain:
            self.incoming.read()
            raise ssl.SSLWantReadError
        super().do_handshake()

    def _look(self) -> None:
        said = self.incoming.read()
        self._is_plain = said[:1].isalpha()
        if self._is_plain:
            _LOG.info("plain HTTP came where TLS is spoken")
            self.outgoing.write(ANSWER)
        else:
            self.incoming.write(said)


TellingContext.sslobject_class = _Side
