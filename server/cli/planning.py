"""`plan`: what a worker would get, without a worker."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from . import options
from .confining import Confinement
from .launching import create_request, launch_of
from .reaching import reaching
from .showing import one_line, write_document, write_facts, write_line, write_table

Json = dict[str, Any]

_COLUMNS = ("FEATURE", "ASKED", "GIVEN", "HOW", "HOLDS")


def plan(
    command: options.Command = None,
    *,
    script: options.ScriptOption = None,
    surroundings: options.Surroundings,
    confinement: Confinement,
    tenant: options.TenantOption = None,
    where: options.Where,
    as_json: options.AsJson = False,
) -> None:
    """Show what a worker would get here, and start nothing.

    One line for each feature: what was asked, what would be given, by which means, and how hard it holds
    (hard: always; soft: as long as nobody tries to pass it; none: not at all). With --strict, a request
    that 'create' would refuse is refused here with the same words. PROGRAM may be left out.
    """
    launch = launch_of(locals())
    if script is None and not command:
        launch = replace(launch, command=("/bin/true",))
    request = create_request(launch)
    with reaching(where) as client:
        answer = client.post("/v1/plan", request)
    if as_json:
        write_document(answer)
    else:
        _show(answer)


def _show(answer: Json) -> None:
    told = answer["plan"]
    write_table(_COLUMNS, [_row(name, row) for name, row in told["features"].items()])
    write_line("")
    write_facts(_facts(answer))


def _row(feature: str, row: Json) -> tuple[str, ...]:
    return (
        feature,
        _word(row["requested"]),
        _word(row["effective"]),
        row["mechanism"] or "",
        row["enforced"],
    )


def _facts(answer: Json) -> list[tuple[str, str]]:
    told = answer["plan"]
    held = ", ".join(f"{name} {value}" for name, value in answer["reservation"].items() if value is not None)
    facts = [("mode", told["capability_mode"]), ("degraded", "yes" if told["degraded"] else "no")]
    facts += [("lost", one_line(reason)) for reason in told["fallback_reasons"]]
    facts += [("weak", one_line(warning)) for warning in told["capability_warnings"]]
    waits = f"it would wait; {answer['before_it']} workers are before it"
    return [*facts, ("reserves", held), ("start", waits if answer["would_wait"] else "at once")]


def _word(value: str | float | bool | None) -> str:
    if value is None:
        return ""
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
