"""Which segments of different videos may show the same: every pooled row against every other.

What all pictures of a library have in common says little about two of them. So rows are turned and scaled
until its directions weigh more alike (a part of whitening; Jegou and Chum 2012, "Negative evidences and
co-occurences in image retrieval"). On real clips that took recall at one false pair in a hundred from .73 to
.97 for small copies (benchmarks/RESULTS.md).
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from savecli.dupes.align import likeness
from savecli.store import Store

Rows = NDArray[np.float32]
Numbers = NDArray[np.int64]

N_SAMPLE = 8192
K_NEAREST = 6
LEAST = 0.35
_SHRINK = 30.0
"""Segments that the belief in a library without any common trait counts for."""
_FLOOR = 1e-4
_POWER = 0.25
_BLOCK = 2048


class Space:
    """The turned and scaled space of rows.

    Args:
        rows: (N, D), of the library; few tell little, and change little.
    """

    def __init__(self, rows: Rows) -> None:
        n, dim = rows.shape
        trust = n / (n + _SHRINK)
        self._mean = (trust * rows.mean(axis=0)).astype(np.float32) if n else np.zeros(dim, np.float32)
        spread = rows - self._mean
        covariance = spread.T @ spread / max(n, 1)
        alike = np.eye(dim) * np.trace(covariance) / max(dim, 1)
        values, turns = np.linalg.eigh(trust * covariance + (1 - trust) * alike)
        self._turn = (turns * (values.clip(0) + _FLOOR) ** -_POWER).astype(np.float32)

    @classmethod
    def of(cls, store: Store) -> Space:
        """The space of a store's pooled rows."""
        ids, _ = store.sample(N_SAMPLE)
        return cls(_stacked(store, ids))

    def __call__(self, rows: Rows) -> Rows:
        """(N, D) -> (N, D) of unit norm."""
        turned = (rows - self._mean) @ self._turn
        result: Rows = turned / np.linalg.norm(turned, axis=1, keepdims=True).clip(1e-9)
        return result


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Library:
    """The segments with pictures, those of a video one after the other.

    Attributes:
        ids: (N,) of segments.
        videos: (N,) the number of the video of each.
        asked: (N,) whether pairs with it are wanted.
    """

    ids: Numbers
    videos: Numbers
    asked: NDArray[np.bool_]


@dataclass(slots=True)
class _Nearest:
    """The best neighbours of each of n segments so far, as loose lists that are thinned now and then."""

    n: int
    parts: list[tuple[Numbers, Numbers, Rows]] = field(default_factory=list)
    n_held: int = 0

    def add(self, first: Numbers, second: Numbers, cosines: Rows) -> None:
        self.parts.append(_best(first, second, cosines))
        self.n_held += len(self.parts[-1][0])
        if self.n_held > 4 * K_NEAREST * self.n + 100_000:
            self.thin()

    def thin(self) -> tuple[Numbers, Numbers, Rows]:
        """The K_NEAREST of each."""
        nothing = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))
        first, second, cosines = (np.concatenate(side) for side in zip(nothing, *self.parts, strict=True))
        best = _best(first, second, cosines)
        self.parts, self.n_held = [best], len(best[0])
        return best


def propose(
    store: Store, space: Space, library: Library
) -> Generator[tuple[int, int], None, tuple[Numbers, Numbers]]:
    """Places in `library` of pairs of segments that may show the same, (P,) and (P,), each pair once.

    Of each asked segment the nearest of other videos count. Yields how far it is, of how much. Memory grows
    with the number of segments alone: two blocks of rows are held at a time.
    """
    n = len(library.ids)
    found = _Nearest(n)
    blocks = list(pairwise([*range(0, n, _BLOCK), n]))
    n_tiles, n_done = len(blocks) * (len(blocks) + 1) // 2, 0
    for number, (start, end) in enumerate(blocks):
        ours = space(_stacked(store, library.ids[start:end].tolist()))
        for other_start, other_end in blocks[number:]:
            same = other_start == start
            theirs = ours if same else space(_stacked(store, library.ids[other_start:other_end].tolist()))
            _tile(ours @ theirs.T, start, other_start, library, found)
            n_done += 1
            yield n_done, n_tiles
    first, second, _ = found.thin()
    pairs = np.unique(np.sort(np.stack([first, second], axis=1), axis=1), axis=0)
    return pairs[:, 0], pairs[:, 1]


def sift(
    store: Store, space: Space, library: Library, pairs: tuple[Numbers, Numbers]
) -> Generator[tuple[int, int], None, Rows]:
    """(P,) how alike the frames of each pair from `propose` are along the best shift; yields its headway."""
    first, second = pairs
    found = np.full(len(first), -1.0, np.float32)
    for start in range(0, len(first), _BLOCK):
        block = slice(start, start + _BLOCK)
        ids = library.ids[np.unique(np.concatenate([first[block], second[block]]))].tolist()
        stored, times = store.rows("frames", ids), store.frame_times(ids)
        rows = {i: space(stored[i]) for i in ids}
        for place in range(start, min(start + _BLOCK, len(first))):
            a, b = int(library.ids[first[place]]), int(library.ids[second[place]])
            if len(rows[a]) and len(rows[b]):
                found[place] = likeness(rows[a], times[a], rows[b], times[b])
        yield min(start + _BLOCK, len(first)), len(first)
    return found


def _tile(cosines: Rows, start: int, other_start: int, library: Library, found: _Nearest) -> None:
    """Takes in what one block of segments has in common with another, or with itself."""
    first, second = np.nonzero(cosines >= LEAST)
    values = cosines[first, second]
    first, second = first + start, second + other_start
    apart = (library.videos[first] != library.videos[second]) & (first < second)
    first, second, values = first[apart], second[apart], values[apart]
    for ours, theirs in ((first, second), (second, first)):
        wanted = library.asked[ours]
        found.add(ours[wanted], theirs[wanted], values[wanted])


def _best(first: Numbers, second: Numbers, values: Rows) -> tuple[Numbers, Numbers, Rows]:
    """Of each in `first` the K_NEAREST."""
    order = np.lexsort((-values, first))
    first, second, values = first[order], second[order], values[order]
    kept = np.arange(len(first)) - np.searchsorted(first, first) < K_NEAREST
    return first[kept], second[kept], values[kept]


def _stacked(store: Store, ids: Sequence[int]) -> Rows:
    """The pooled rows of these segments, (N, D)."""
    rows = store.rows("seen", ids)
    stacked = [rows[i] for i in ids if len(rows.get(i, ()))]
    return np.concatenate(stacked) if stacked else np.zeros((0, 1), np.float32)
