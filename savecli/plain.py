"""Text that comes from files (names, what is said) never reaches a terminal raw.

Control characters could move the cursor or set the window's title.
"""

from __future__ import annotations

JOINERS = "\u200c\u200d"  # they hold emoji and several scripts together, and move no cursor


def plain(text: object) -> str:
    """Text without control characters, safe on any terminal and in any encoding."""
    shown = "".join(c if c.isprintable() or c in JOINERS else "\N{REPLACEMENT CHARACTER}" for c in str(text))
    return shown.encode("utf-8", "replace").decode("utf-8")
