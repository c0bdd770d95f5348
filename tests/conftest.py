"""How hypothesis runs here: bounded by examples, not by time, and the same each time in CI."""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("watchglass", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("watchglass")
