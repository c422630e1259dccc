"""Stamps that leap -> what to add so that they run on. Pure arithmetic.

Recordings joined byte by byte start their clock again; a damaged packet may claim any time. Both would tear
a timeline apart, or stretch it to hours that hold nothing. A pause in a recording is a leap as well, and is
true: it stays.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BACK_S = 1.0
"""Decoding order never goes back in a sane file; small steps back are rounding."""
AHEAD_S = 10.0
"""A leap ahead by more than this is healed if the clock comes back later."""
ABSURD_S = 3600.0
"""A leap ahead by more than this is healed in any case."""
_USUAL_S = 0.04


def heal(stamps_s: NDArray[np.float64]) -> tuple[tuple[int, float], ...]:
    """Find where the clock leaps.

    Args:
        stamps_s: (P,) decoding times of all packets in file order, NaN where there is none.

    Returns:
        (packet number, seconds to add from there until the next pair), empty where the clock never leaps.
    """
    stamps = _without_nan(stamps_s)
    if len(stamps) < 2:
        return ()
    steps = np.diff(stamps)
    ordinary = steps[(steps > 0) & (steps < BACK_S)]
    usual = float(np.median(ordinary)) if len(ordinary) else _USUAL_S
    lowest_after = np.minimum.accumulate(stamps[::-1])[::-1]
    shifts: list[tuple[int, float]] = []
    shift = 0.0
    for i in np.flatnonzero((steps < -BACK_S) | (steps > BACK_S)) + 1:
        expected = stamps[i - 1] + shift + usual
        if shift and expected - BACK_S <= stamps[i] <= expected + AHEAD_S:
            shift = 0.0  # one wild packet, and the old clock goes on
        elif steps[i - 1] < 0 or _false_leap(stamps[i] - stamps[i - 1], lowest_after[i] < stamps[i] - BACK_S):
            shift = float(expected - stamps[i])
        else:
            continue
        shifts.append((int(i), shift))
    return tuple(shifts)


def _false_leap(ahead_s: float, comes_back: bool) -> bool:
    return ahead_s > ABSURD_S or (ahead_s > AHEAD_S and comes_back)


def _without_nan(stamps_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fill each hole with the next known stamp: Matroska's first packets have no decoding time."""
    known = np.flatnonzero(~np.isnan(stamps_s))
    if len(known) == 0:
        return stamps_s[:0]
    following = np.searchsorted(known, np.arange(len(stamps_s)))
    filled: NDArray[np.float64] = stamps_s[known[np.minimum(following, len(known) - 1)]]
    return filled
