"""What all faults are, and how their texts show a value."""

from __future__ import annotations

from typing import ClassVar

SHOWN_CHARS_MAX = 80


def shown(value: object) -> str:
    """A value as an error text may show it: quoted, and cut when it is long."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARS_MAX else f"{text[:SHOWN_CHARS_MAX]}… ({len(text)} characters)"


def cut(text: str) -> str:
    """A text as an error text may show it where no quotes belong: cut when it is long."""
    return text if len(text) <= SHOWN_CHARS_MAX else f"{text[:SHOWN_CHARS_MAX]}…"


def printable(text: str) -> str:
    """A text of the operating system as JSON can have it: a byte that is no UTF-8 is shown as an escape."""
    return text.encode("utf-8", "backslashreplace").decode()


class RuntimeFault(Exception):
    """Base of everything we raise on purpose. Anything else is our bug."""

    code: ClassVar[str]


class Internal(RuntimeFault):
    """Our bug; the log has the rest."""

    code = "internal"

    def __init__(self) -> None:
        super().__init__("internal error; the runtime's log says more")


def faults() -> list[type[RuntimeFault]]:
    """Every fault that has a code of its own, in code order."""
    found: list[type[RuntimeFault]] = []
    pending: list[type[RuntimeFault]] = [RuntimeFault]
    while pending:
        fault = pending.pop()
        pending.extend(fault.__subclasses__())
        if "code" in vars(fault):
            found.append(fault)
    return sorted(found, key=lambda fault: fault.code)
