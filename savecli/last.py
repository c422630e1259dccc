"""The results of the last search, kept in the home folder, so that `save open 2` knows what 2 is."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from savecli.datatypes import Moment
from savecli.errors import QueryError
from savecli.private import private
from savecli.wire import WireError, decoded, encoded, parsed

FILE = "last.json"
_VERSION = 2
_MOST_BYTES = 1 << 28
_HINT = "search again, and then name a result by its number"
_MOST_DIGITS = 9
_CHARACTERS = frozenset("0123456789,- ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Last:
    """A search that was run.

    Attributes:
        asked: what was looked for, in words.
        moments: what was found, best first.
    """

    asked: str
    moments: tuple[Moment, ...]

    def pick(self, text: str) -> list[tuple[int, Moment]]:
        """The moments that `2`, `1-5`, `1,3` or `all` name, each once with its number, in that order.

        Raises:
            QueryError: no such number, or none at all.
        """
        n_found = len(self.moments)
        if text.strip().lower() == "all":
            return list(enumerate(self.moments, 1))
        wanted: list[int] = []
        for part in text.split(","):
            first, last = _ends(part)
            missing = [number for number in (first, last) if not 1 <= number <= n_found]
            if missing:
                raise QueryError(
                    f"there is no result {missing[0]}: the last search found {n_found or 'nothing'}",
                    hint=_HINT,
                )
            step = 1 if last >= first else -1
            wanted += range(first, last + step, step)
        return [(number, self.moments[number - 1]) for number in dict.fromkeys(wanted)]


def are_numbers(text: str) -> bool:
    """Whether a word names results, and no file."""
    return text.strip().lower() == "all" or (bool(text) and set(text) <= _CHARACTERS)


def remember(home: Path, asked: str, moments: Sequence[Moment]) -> bool:
    """Keep results for the commands that follow; False where the home folder cannot be written."""
    kept = {"version": _VERSION, "last": encoded(Last(asked=asked, moments=tuple(moments)))}
    aside = home / f".{FILE}.{os.getpid()}.part"
    with suppress(OSError):
        try:
            with open(aside, "x", encoding="ascii", opener=private) as file:
                json.dump(kept, file)
            aside.replace(home / FILE)
            return True
        finally:
            aside.unlink(missing_ok=True)
    return False


def recall(home: Path) -> Last:
    """The results of the last search.

    Raises:
        QueryError: there was none, or its file is damaged.
    """
    try:
        with open(home / FILE, "rb") as file:
            kept = parsed(file.read(_MOST_BYTES))
        if kept.get("version") == _VERSION:
            return decoded(Last, kept.get("last"))
        why = "another version wrote them"
    except FileNotFoundError:
        raise QueryError("there was no search yet whose results could be named", hint=_HINT) from None
    except OSError as error:
        why = f"{error.strerror}: {home / FILE}"
    except WireError:
        why = f"{home / FILE} is damaged"
    raise QueryError(f"the results of the last search cannot be read: {why}", hint=_HINT)


def _ends(part: str) -> tuple[int, int]:
    """`1-5` -> 1, 5; `2` -> 2, 2."""
    first, dash, last = (side.strip() for side in part.partition("-"))
    ends = (first, last if dash else first)
    if not all(end.isascii() and end.isdigit() and len(end) < _MOST_DIGITS for end in ends):
        raise QueryError(f"{part!r} names no results", hint="as in 2, 1-5 or 1,3, or all")
    return int(ends[0]), int(ends[1])
