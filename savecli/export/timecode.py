"""Seconds, frames and timecodes, in exact fractions.

Drop-frame numbers skip two frame numbers (four at 59.94) in each minute but every tenth, so that the clock
keeps up with real time (SMPTE ST 12-1). Nothing is ever dropped but numbers.
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor

RATES = (
    *(Fraction(24_000, 1001), Fraction(24), Fraction(25), Fraction(30_000, 1001), Fraction(30)),
    *(Fraction(48), Fraction(50), Fraction(60_000, 1001), Fraction(60)),
)
"""Pictures a second that editors have timelines for."""
USUAL = Fraction(25)
_NEAR = 0.01
_ROUNDING_S = 0.001
_DROPPING = {Fraction(30_000, 1001): 2, Fraction(60_000, 1001): 4}


def editing_rate(rate: Fraction) -> Fraction:
    """The rate of a timeline for footage of `rate`: its own, or a multiple of it, or 30 or 60."""
    if not rate:
        return USUAL
    if rate in RATES:
        return rate
    off = {c: abs(float(c / rate) / round(c / rate) - 1) for c in RATES if round(c / rate) >= 1}
    nearest = min(off, key=lambda candidate: (off[candidate], candidate), default=None)
    if nearest is not None and off[nearest] < _NEAR:
        return nearest
    return Fraction(30) if rate <= 30 else Fraction(60)


def frames(start_s: float, end_s: float, rate: Fraction) -> tuple[int, int]:
    """The frames that show any of a span: the first, and the one after the last."""
    first = max(0, floor((start_s + _ROUNDING_S) * rate))
    return first, max(first + 1, ceil((end_s - _ROUNDING_S) * rate))


def drops(rate: Fraction) -> bool:
    """Whether there is a drop-frame timecode for a rate."""
    return rate in _DROPPING


def timecode(frame: int, rate: Fraction, *, drop: bool = False) -> str:
    """A frame's number as HH:MM:SS:FF, or HH:MM:SS;FF where numbers are dropped."""
    nominal = round(rate)
    if drop:
        skipped = _DROPPING[rate]
        tens, rest = divmod(frame, 10 * 60 * nominal - 9 * skipped)
        frame += tens * 9 * skipped + skipped * max(0, (rest - skipped) // (60 * nominal - skipped))
    seconds, number = divmod(frame, nominal)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours % 24:02}:{minutes:02}:{seconds:02}{';' if drop else ':'}{number:02}"


def parse(text: str, rate: Fraction) -> int:
    """The frame's number that a timecode names.

    Raises:
        ValueError: it is none.
    """
    drop = ";" in text or "," in text
    fields = text.replace(";", ":").replace(",", ":").replace(".", ":").split(":")
    if len(fields) != 4 or not all(field.strip().isdigit() for field in fields):
        raise ValueError(f"not a timecode: {text}")
    hours, minutes, seconds, number = map(int, fields)
    nominal = round(rate)
    frame = ((hours * 60 + minutes) * 60 + seconds) * nominal + number
    if drop and rate in _DROPPING:
        minutes += hours * 60
        frame -= _DROPPING[rate] * (minutes - minutes // 10)
    return frame
