"""Dates, durations and times as people type them -> seconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from savecli.errors import QueryError

DATES = "2024, 2024-05, 2024-05-31, 2024-05-31T18:30, today, yesterday, or as long ago as 12h, 7d, 2w, 1y"
LENGTHS = "90 (seconds), 1:30, 1:02:03, 45s, 20min, 2h or 1h30m"

_AGO = re.compile(r"(\d{1,5})\s*(h|d|w|y)")
_AGO_DAYS = {"h": 1 / 24, "d": 1, "w": 7, "y": 365}
_PARTIAL = re.compile(r"(\d{4})(?:-(\d{1,2}))?(?:-(\d{1,2}))?")
_CLOCK = re.compile(r"(?:(\d{1,3}):(?=[0-5]?\d:))?(\d{1,4}):([0-5]\d(?:\.\d{1,3})?)")
_SPELT = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?:in)?)?(?:(\d+(?:\.\d+)?)s?)?")
_LONGEST_S = 1e8


def moment(text: str, *, is_end: bool, now: datetime | None = None) -> float:
    """A date as seconds since the epoch, in local time unless it names a zone.

    Args:
        text: see `DATES`.
        is_end: gives the end of a year, month, day or minute that is named, and not its beginning.
        now: local time, for tests.

    Raises:
        QueryError: it is no date.
    """
    typed = text.strip().lower()
    now = now or datetime.now()
    try:
        start, end = _span(typed, now)
        return (end if is_end else start).timestamp()
    except (ValueError, OverflowError, OSError) as error:
        raise QueryError(f"{text!r} is no date", hint=f"as in {DATES}") from error


def _span(typed: str, now: datetime) -> tuple[datetime, datetime]:
    """The first instant that a text may mean, and the first after it."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if typed in ("today", "yesterday"):
        day = midnight - timedelta(days=typed == "yesterday")
        return day, day + timedelta(days=1)
    if typed == "now":
        return now, now
    if ago := _AGO.fullmatch(typed):
        # With its zone: twelve hours ago are twelve hours on the night when clocks are changed, too.
        then = now.astimezone() - timedelta(days=int(ago[1]) * _AGO_DAYS[ago[2]])
        return then, then
    if re.fullmatch(r"\d{8}", typed):
        typed = f"{typed[:4]}-{typed[4:6]}-{typed[6:]}"
    if named := _PARTIAL.fullmatch(typed):
        year, month, day_of = (int(part) if part else None for part in named.groups())
        assert year is not None  # noqa: S101 - the pattern has it
        start = datetime(year, month or 1, day_of or 1)
        return start, _after(start, month=month, day=day_of)
    start = datetime.fromisoformat(typed.upper())
    is_to_the_minute = start.second == start.microsecond == 0
    return start, start + timedelta(minutes=1) if is_to_the_minute else start


def _after(start: datetime, *, month: int | None, day: int | None) -> datetime:
    if day is not None:
        return start + timedelta(days=1)
    if month is not None:
        return (start + timedelta(days=31)).replace(day=1)
    return start.replace(year=start.year + 1)


def length(text: str) -> float:
    """A duration in seconds; see `LENGTHS`.

    Raises:
        QueryError: it is none.
    """
    typed = text.strip().lower().replace(" ", "")
    if re.fullmatch(r"\d+h\d+", typed):
        typed += "m"
    clock, spelt = _CLOCK.fullmatch(typed), _SPELT.fullmatch(typed)
    found = clock or spelt
    if not found or not any(found.groups()):
        raise QueryError(f"{text!r} is no duration", hint=f"as in {LENGTHS}")
    hours, minutes, rest = (float(part) if part else 0.0 for part in found.groups())
    total = 3600 * hours + 60 * minutes + rest
    if total > _LONGEST_S:
        raise QueryError(f"{text!r} is longer than any video", hint=f"as in {LENGTHS}")
    return total


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


def day(at_s: float) -> str:
    """Seconds since the epoch as a local date, with the time where it is not midnight."""
    local = datetime.fromtimestamp(at_s, UTC).astimezone()
    return f"{local:%Y-%m-%d}" if f"{local:%H%M%S}" == "000000" else f"{local:%Y-%m-%d %H:%M}"
