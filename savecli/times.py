"""Times as people type them."""

from __future__ import annotations

from savecli.errors import QueryError


def seconds(text: str) -> float:
    """`80`, `80.5`, `1:20` or `1:02:03.5` as seconds.

    Raises:
        QueryError: it is no such time.
    """
    parts = text.removesuffix("s").split(":")
    whole = all(part.isascii() and part.isdigit() for part in parts[:-1])
    digits = parts[-1].replace(".", "", 1)
    if not whole or len(parts) > 3 or not (digits.isascii() and digits.isdigit()):
        raise QueryError(f"{text!r} is no time", hint="as in 80, 1:20 or 1:02:03.5")
    total = 0.0
    for part in parts:
        total = total * 60 + float(part)
    return total
