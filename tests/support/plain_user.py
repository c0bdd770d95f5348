"""A server of a user who is not root, started by a test that is.

Nobody else may read the interpreter and this code where they are, in root's home as
a rule. So in a mount namespace of the server's own an empty folder takes the place of
each one that is closed to others, and in it lies only what is needed, under its own path.

with plain_user() as user, user.serving() as served: …
"""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from .serving import Served, serving

NOBODY = 65534
ROOT = Path(__file__).parent.parent.parent
_TOOLS = ("unshare", "mount", "setpriv", "sh")


@dataclass(frozen=True, slots=True)
class PlainUser:
    """How its server is started: `by` becomes the program that follows."""

    state_dir: Path
    by: Sequence[str]

    def serving(self, *flags: str) -> AbstractContextManager[Served]:
        """Serve until the block ends."""
        return serving(self.state_dir, *flags, env={"HOME": str(self.state_dir)}, by=self.by)


def lacking() -> str:
    """Why a server cannot be started so; "" when it can."""
    if os.geteuid() != 0:
        return "takes root to become a plain user"
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    return f"takes {', '.join(missing)}" if missing else ""


@contextmanager
def plain_user() -> Iterator[PlainUser]:
    """Nobody, with a folder of its own; gone with the block."""
    place = Path(tempfile.mkdtemp(prefix="watchglass-plain-"))
    try:
        place.chmod(0o755)
        state = place / "state"
        state.mkdir(mode=0o755)
        os.chown(state, NOBODY, NOBODY)
        become = f'cd / && exec setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups -- "$@"'
        steps = " && ".join([*_opened(place), become])
        yield PlainUser(state_dir=state, by=["unshare", "--mount", "sh", "-c", steps, "sh"])
    finally:
        shutil.rmtree(place)


def _opened(place: Path) -> Iterator[str]:
    """The commands that show what is needed where it is."""
    needed = dict.fromkeys(path.resolve() for path in (Path(sys.base_prefix), Path(sys.prefix), ROOT))
    hidden = {path: closed for path in needed if (closed := _closed_above(path)) is not None}
    for number, path in enumerate(hidden):
        (place / str(number)).mkdir()
        yield shlex.join(["mount", "--bind", str(path), str(place / str(number))])
    for closed in dict.fromkeys(hidden.values()):
        yield shlex.join(["mount", "-t", "tmpfs", "-o", "mode=755", "none", str(closed)])
    for number, path in enumerate(hidden):
        yield shlex.join(["mkdir", "-p", str(path)])
        yield shlex.join(["mount", "--bind", str(place / str(number)), str(path)])


def _closed_above(path: Path) -> Path | None:
    """The topmost folder on the way that others may not pass."""
    for folder in reversed([path, *path.parents]):
        if not folder.stat().st_mode & stat.S_IXOTH:
            return folder
    return None
