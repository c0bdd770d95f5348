"""Which events a reader wants, told by the bytes of their envelopes.

An envelope is `{"cursor":…,"event_id":…,"worker_id":…,"ts":…,"payload":{"event":NAME,"data":…`
(`frames.encode_envelope`), and nothing before the payload can hold a quote, so
the name is found without parsing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

from orjson import dumps, loads

_BEFORE_NAME: Final = b'","payload":{"event":"'
_SEARCH_FROM: Final = 60
"""Behind the cursor and the event id."""
_QUOTED: Final = re.compile(rb'"(?:[^"\\]|\\.)*"')


class EventFilter:
    """Lets events of some names pass."""

    def __init__(self, types: Iterable[str]) -> None:
        self._passing = tuple(b'%b%b,"data":' % (_BEFORE_NAME, dumps(name)[1:]) for name in types)

    def passing(self, lines: Sequence[bytes]) -> list[bytes]:
        """The envelopes that pass, in order."""
        passing = self._passing
        return [line for line in lines if line.startswith(passing, line.find(_BEFORE_NAME, _SEARCH_FROM))]


def event_name(line: bytes) -> str:
    """What the event of an envelope is called."""
    start = line.index(_BEFORE_NAME, _SEARCH_FROM) + len(_BEFORE_NAME) - 1
    found = _QUOTED.match(line, start)
    assert found is not None, "an envelope names its event"
    return _name(found[0])


@lru_cache(maxsize=1024)
def _name(quoted: bytes) -> str:
    name = loads(quoted)
    assert isinstance(name, str)
    return name
