"""What `watchglass serve` cannot be told."""

from __future__ import annotations


class ConfigError(Exception):
    """One clear line about one flag; `watchglass serve` ends with exit code 2."""
