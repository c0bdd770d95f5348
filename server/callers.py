"""Who asks: the token that a request came with, by its name, and what it gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, cast

from quart import request

from watchglass.protocol.identity import WorkerId
from watchglass.protocol.scopes import EVERYTHING, Grant

from .asgi import Scope

LOCAL_NAME: Final = "local"
"""What the token with all rights is called."""
_KEY: Final = "watchglass.caller"


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever sent a request. `digest` finds the token again; None: it is not of a tokens file."""

    grant: Grant
    name: str | None = None
    """None: no token is asked for."""
    digest: bytes | None = None

    @property
    def only_worker(self) -> WorkerId | None:
        """The one worker that there is for it; None: all."""
        return self.grant.worker_id


ANYBODY: Final = Caller(EVERYTHING)
"""Where no token is asked for."""
LOCAL: Final = Caller(EVERYTHING, LOCAL_NAME)


def note_caller(scope: Scope, caller: Caller) -> None:
    """From now on this request is known to be of this caller."""
    scope[_KEY] = caller


def caller_of(scope: Scope) -> Caller:
    """Who sent a request; `note_caller` was called for each that is served."""
    found = scope[_KEY]
    assert isinstance(found, Caller)
    return found


def caller_name(scope: Scope) -> str | None:
    """Their name for the log; also of a request that was refused before it was known whose it is."""
    found = scope.get(_KEY)
    return found.name if isinstance(found, Caller) else None


def the_caller() -> Caller:
    """Who sent the request that is being answered."""
    return caller_of(cast("Scope", request.scope))
