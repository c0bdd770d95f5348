"""An amount of bytes as people read it."""

from __future__ import annotations


def size_text(size_bytes: int) -> str:
    """Such as `0 B` or `1.5 MiB`."""
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
