"""The flags of `serve`: one table, from which the command has its options."""

from __future__ import annotations

import inspect
import subprocess
import sys

from watchglass.server.cli.serving import serve
from watchglass.server.flags import ServeFlags, rows


def test_the_command_takes_what_the_table_has_and_nothing_else() -> None:
    taken = {each.name: each.default for each in inspect.signature(serve).parameters.values()}
    assert taken == {name: default for name, default, _ in rows()}
    assert ServeFlags(**taken) == ServeFlags()


def test_a_token_is_not_shown() -> None:
    assert "let-me-in" not in repr(ServeFlags(local_token="let-me-in"))


def test_the_table_is_read_without_the_server() -> None:
    heavy = "{'pydantic', 'quart', 'hypercorn', 'watchglass.server.config'} & set(sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, watchglass.server.cli.serving; print({heavy})"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "set()\n"
