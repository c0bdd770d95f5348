"""Where a runtime is, and the token that it wants."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from .trust import Trust, tls_context

if TYPE_CHECKING:
    from ssl import SSLContext


@dataclass(frozen=True, slots=True)
class Address:
    """A runtime's URL, `http(s)://HOST:PORT`, its local token, and whom to trust. No repr shows the token."""

    url: str
    token: str | None = field(default=None, repr=False)
    trust: Trust = field(default=Trust(), repr=False)

    def __post_init__(self) -> None:
        """Raises ValueError: the URL is none of a runtime."""
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"{self.url!r} is no URL of a runtime; use http://HOST:PORT")
        if parts.query or parts.fragment or parts.username is not None:
            raise ValueError(f"{self.url!r}: a runtime's URL has no user, query or fragment")
        try:
            parts.port  # noqa: B018 - It is looked at here for the first time.
        except ValueError:
            raise ValueError(f"{self.url!r}: a port is a number from 0 to 65535") from None

    @property
    def secure(self) -> bool:
        """Whether TLS is spoken."""
        return self.url.startswith("https:")

    def tls(self) -> SSLContext | None:
        """Our side of TLS, where it is spoken. Raises NoTrust."""
        return tls_context(self.trust) if self.secure else None

    @property
    def host(self) -> str:
        """The host's name or address."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """The port, the scheme's own when the URL has none."""
        return urlsplit(self.url).port or (443 if self.secure else 80)

    @property
    def path(self) -> str:
        """What stands before every path, without a slash at its end."""
        return urlsplit(self.url).path.rstrip("/")

    @property
    def websocket_url(self) -> str:
        """The same for WebSocket."""
        return f"ws{self.url.removeprefix('http').rstrip('/')}"

    def headers(self) -> dict[str, str]:
        """What every request carries."""
        return {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
