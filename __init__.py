"""watchglass runs agent workers under glass.

Every worker is a real process; everything it says is an event in a journal;
anyone entitled can watch it from any point, leave, come back and miss nothing.
"""

from __future__ import annotations

__version__ = "0.1.0"
