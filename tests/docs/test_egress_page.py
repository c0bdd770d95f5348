"""The page about egress names what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from watchglass.protocol.execution import NETWORK_ALLOW_MAX
from watchglass.protocol.places import allowed_place
from watchglass.runtime.egress import CONNECTIONS_MAX, EgressLimits, proxy_environment
from watchglass.runtime.egress.environment import PROXY_URL
from watchglass.runtime.egress.request import HEAD_BYTES_MAX, METHODS
from watchglass.runtime.egress.routing import Reason
from watchglass.runtime.egress.tally import DENIED_PLACES_MAX

PAGE = (Path(__file__).parent.parent.parent / "docs" / "egress.md").read_text()


def first_codes(heading: str) -> list[str]:
    """What the first cells of a section's table name."""
    section = PAGE.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return [code for cell in cells for code in re.findall(r"`([^`]+)`", cell)]


def test_every_reason_of_a_denial_is_on_it() -> None:
    assert first_codes("In the journal") == [str(reason) for reason in Reason]


def test_the_entries_that_it_shows_are_taken() -> None:
    entries = first_codes("The list")
    assert len(entries) == 5
    for entry in entries:
        allowed_place(entry)
    for refused in ("127.1:80", "0x7f.1:80"):
        with pytest.raises(ValueError, match="neither a name nor an address"):
            allowed_place(refused)


def test_its_bounds_are_those_of_the_code() -> None:
    limits = EgressLimits()
    for text in (
        f"up to {NETWORK_ALLOW_MAX} entries",
        f"at most {limits.connections_max} connections",
        f"all workers together {CONNECTIONS_MAX:,}",
        f"after\n{limits.head_s:g} s",
        f"over {limits.connect_s:g} s",
        f"for {limits.idle_s / 60:g} minutes",
        f"over {HEAD_BYTES_MAX >> 10} KiB",
        f"after {DENIED_PLACES_MAX} different",
        PROXY_URL.removeprefix("http://"),
        *(name for name in proxy_environment([]) if name.isupper()),
        *(method.decode() for method in METHODS),
    ):
        assert text in PAGE
