"""Where two videos show the same: the shift between their clocks, and the spans in which it holds.

Frames that resemble each other vote for the difference of their times, as in a Hough transform (Douze, Jegou
and Schmid 2010, "An image-based approach to video copy detection with spatio-temporal post-filtering"); then
all frames are compared along the best shifts. Arithmetic only; F frames, D embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]
Times = NDArray[np.float64]

LEAST_MEAN = 0.35
_LEAST_VOTE = 0.3
_LEAST_FRAME = 0.2
_BIN_S = 1.0
_FINE_S = (0.0, -0.25, 0.25, -0.5, 0.5)
_N_SHIFTS = 4
_AGREEMENT_DIGITS = 3
_WORTHY = 0.2
_GAP_S = 3.5
_NEAR_S = 1.0
_AROUND_S = (6.0, 18.0)
_WHOLE = 0.8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Track:
    """The frames of one video.

    Attributes:
        rows: (F, D) of unit norm.
        times_s: (F,) increasing.
        duration_s: of the video.
    """

    rows: Rows
    times_s: Times
    duration_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """A span of the first video, ``[start_s, end_s)``, that the second shows `shift_s` earlier.

    Attributes:
        likeness: the mean cosine of frames shown at the same time.
        calm_s: times on the first video's clock, spread over the span, at which least changes.
    """

    start_s: float
    end_s: float
    shift_s: float
    likeness: float
    calm_s: tuple[float, ...]


def likeness(first: Rows, first_s: Times, second: Rows, second_s: Times) -> float:
    """The mean cosine of the frames of two segments along the best shift, for a quick look.

    Args:
        first: (F, D) of unit norm.
        first_s: (F,) their times.
        second: of the other segment.
        second_s: their times.
    """
    cosines = first @ second.T
    bins = np.round((first_s[:, None] - second_s[None]) / _BIN_S).astype(np.int64)
    place = (bins - bins.min()).ravel()
    counts = np.bincount(place)
    means = np.bincount(place, cosines.ravel()) / counts.clip(1)
    return float(means[counts >= min(cosines.shape) / 2].max(initial=-1.0))


def overlaps(
    first: Track, second: Track, hints: Sequence[tuple[float, float]], *, least_s: float, n_calm: int
) -> list[Overlap]:
    """The spans in which both show the same, in order of time; none of them overlap.

    Args:
        first: with at least a frame.
        second: the same.
        hints: pairs of times at which segments that resemble each other begin.
        least_s: what is shorter counts only where it is nearly all of a video.
        n_calm: how many calm times of each span.
    """
    found: list[tuple[float, Overlap]] = []
    for shift_s in _shifts(first, second, hints):
        cosines, times_s = _along(first, second, shift_s)
        for start, end in _runs(cosines, times_s):
            run, when_s = cosines[start:end], times_s[start:end]
            start_s, end_s = _reach(first, second, shift_s, when_s)
            likeness = float(run.mean())
            whole = end_s - start_s >= _WHOLE * min(first.duration_s, second.duration_s)
            if likeness >= LEAST_MEAN and (end_s - start_s >= least_s or whole):
                calm_s = _calm(first, when_s, n_calm)
                overlap = Overlap(
                    start_s=start_s, end_s=end_s, shift_s=shift_s, likeness=likeness, calm_s=calm_s
                )
                found.append((float(run.clip(0).sum()), overlap))
    kept: list[Overlap] = []
    for _, one in sorted(found, key=lambda item: -item[0]):
        if all(one.end_s <= other.start_s or one.start_s >= other.end_s for other in kept):
            kept.append(one)
    return sorted(kept, key=lambda one: one.start_s)


def _shifts(first: Track, second: Track, hints: Sequence[tuple[float, float]]) -> list[float]:
    """The best shifts, the best first: by votes of frames near the hints, then by all that overlaps.

    Of shifts that are equally good, as where nothing moves, that of equal starts comes first, then that of
    equal ends, then that of most votes.
    """
    differences, weights = [], []
    for at_s, other_s in hints:
        ours, theirs = _around(first, at_s), _around(second, other_s)
        cosines = first.rows[ours] @ second.rows[theirs].T
        i, j = np.nonzero(cosines >= _LEAST_VOTE)
        differences.append(first.times_s[ours][i] - second.times_s[theirs][j])
        weights.append(cosines[i, j] ** 3)
    votes, weight = np.concatenate(differences), np.concatenate(weights)
    tried = [0.0, first.duration_s - second.duration_s]
    if len(votes):
        bins, place = np.unique(np.round(votes / _BIN_S), return_inverse=True)
        sums = np.bincount(place, weight)
        for chosen in np.argsort(-sums, kind="stable")[:_N_SHIFTS]:
            near = np.abs(votes - bins[chosen] * _BIN_S) <= _BIN_S
            tried.append(float(np.average(votes[near], weights=weight[near])))
    rough = _best_first(first, second, list(dict.fromkeys(tried)))[:_N_SHIFTS]
    fine = [
        _best_first(first, second, [shift_s + fine_s for fine_s in _FINE_S])[0]
        for agreement, shift_s in rough
        if agreement > _WORTHY * rough[0][0]
    ]
    chosen_s: list[float] = []
    for agreement, shift_s in sorted(fine, key=_by_agreement):
        if agreement > 0 and all(abs(shift_s - other) > 2 * _BIN_S for other in chosen_s):
            chosen_s.append(shift_s)
    return chosen_s


def _best_first(first: Track, second: Track, shifts_s: Sequence[float]) -> list[tuple[float, float]]:
    """Agreements, each with its shift; equal ones stay in their order."""
    return sorted(((_agreement(first, second, shift_s), shift_s) for shift_s in shifts_s), key=_by_agreement)


def _by_agreement(item: tuple[float, float]) -> float:
    return -round(item[0], _AGREEMENT_DIGITS)  # what rounding leaves of equal sums is no difference


def _around(track: Track, start_s: float) -> slice:
    before_s, after_s = _AROUND_S
    first = int(np.searchsorted(track.times_s, start_s - before_s))
    return slice(first, int(np.searchsorted(track.times_s, start_s + after_s)))


def _agreement(first: Track, second: Track, shift_s: float) -> float:
    cosines, _ = _along(first, second, shift_s)
    return float((cosines - _LEAST_FRAME).clip(0).sum(dtype=np.float64))


def _along(first: Track, second: Track, shift_s: float) -> tuple[Rows, Times]:
    """(M,) cosines of frames that are shown together, and (M,) when, on the first's clock.

    Of the two, each frame of the one with fewer there is compared with the nearest of the other.
    """
    ours_s, theirs_s = first.times_s, second.times_s + shift_s
    begins_s, ends_s = max(ours_s[0], theirs_s[0]) - _NEAR_S, min(ours_s[-1], theirs_s[-1]) + _NEAR_S
    ours, theirs = _within(ours_s, begins_s, ends_s), _within(theirs_s, begins_s, ends_s)
    if not len(ours) or not len(theirs):
        return np.zeros(0, np.float32), np.zeros(0)
    if len(ours) <= len(theirs):
        when_s, theirs = ours_s[ours], theirs[_nearest(theirs_s[theirs], ours_s[ours])]
    else:
        when_s, ours = theirs_s[theirs], ours[_nearest(ours_s[ours], theirs_s[theirs])]
    close = np.abs(ours_s[ours] - theirs_s[theirs]) <= _NEAR_S
    cosines: Rows = np.einsum("ij,ij->i", first.rows[ours[close]], second.rows[theirs[close]])
    return cosines, when_s[close]


def _within(times_s: Times, start_s: float, end_s: float) -> NDArray[np.int64]:
    return np.arange(np.searchsorted(times_s, start_s), np.searchsorted(times_s, end_s, side="right"))


def _nearest(among_s: Times, times_s: Times) -> NDArray[np.int64]:
    """For each of `times_s` the place of the nearest in `among_s`, which increases."""
    after = np.searchsorted(among_s, times_s).clip(0, len(among_s) - 1)
    before = (after - 1).clip(0)
    nearer = np.abs(times_s - among_s[before]) <= np.abs(among_s[after] - times_s)
    places: NDArray[np.int64] = np.where(nearer, before, after)
    return places


def _runs(cosines: Rows, times_s: Times) -> list[tuple[int, int]]:
    """Half-open runs of frames that are alike, with no longer break than `_GAP_S`."""
    alike = np.nonzero(cosines >= _LEAST_FRAME)[0]
    if not len(alike):
        return []
    breaks = np.nonzero(np.diff(times_s[alike]) > _GAP_S)[0]
    firsts = [int(alike[0]), *alike[breaks + 1].tolist()]
    lasts = [*alike[breaks].tolist(), int(alike[-1])]
    return [(first, last + 1) for first, last in zip(firsts, lasts, strict=True)]


def _reach(first: Track, second: Track, shift_s: float, times_s: Times) -> tuple[float, float]:
    """The span that frames at these times stand for: to the middle between two, or to where a video ends."""
    step_s = float(np.median(np.diff(times_s))) if len(times_s) > 1 else 2 * _NEAR_S
    begin_s, over_s = max(0.0, shift_s), min(first.duration_s, second.duration_s + shift_s)
    start_s, end_s = times_s[0] - step_s / 2, times_s[-1] + step_s / 2
    start_s = begin_s if start_s - begin_s <= step_s else start_s
    end_s = over_s if over_s - end_s <= step_s else end_s
    return float(start_s), float(max(end_s, start_s))


def _calm(track: Track, times_s: Times, n: int) -> tuple[float, ...]:
    """Of each of n parts of a span the time around which the picture changes least: shifts are not exact."""
    change = 1 - np.einsum("ij,ij->i", track.rows[1:], track.rows[:-1])
    around = np.maximum(np.append(change, 0), np.append(0, change))
    frames = _nearest(track.times_s, times_s)
    parts = [part for part in np.array_split(np.arange(len(times_s)), n) if len(part)]
    return tuple(float(times_s[part[around[frames[part]].argmin()]]) for part in parts)
