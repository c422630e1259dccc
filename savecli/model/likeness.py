"""How like an example a segment is, and by what.

The rows of a store can be compared with rows of any picture, sound or speech, not with those of texts alone.
But the chances of `score` were learned for texts; a picture and its like are far nearer than a picture and
its name. So the score of an example is no chance. It says how far a segment has come from what is usual to
the same thing: 0 where it is as like the example as the middle of the library, 1 where it is the same.

Of what the example has, what is seen counts half and what is heard and said a quarter each; they add up to
the score. For 51 segments of real clips another one of the same clip should come first: it did for .96 so,
for .92 by what is seen alone, and for .35 and .26 by what is heard or said alone.

Shapes: n segments, R rows, D embedding. numpy only: a search imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from savecli.model.score import MODALITIES, Candidates, Stack, Term

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.float32]
    Values = NDArray[np.float64]
    Cosines = Mapping[Term, Values]

WEIGHTS: Mapping[Term, float] = {"seen": 0.5, "heard": 0.25, "said": 0.25}
THRESHOLD = 0.5
"""Below half the way from usual to the same, a person is better told that nothing is alike."""
_PRIOR_USUAL = 0.2
_PRIOR_N = 5.0
_MOST_ASKED = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Example:
    """A picture, a sound, or a stretch of video that others are to be like.

    Attributes:
        name: what it is, as a person typed it.
        rows: (R, D) float32 unit rows of what is seen, heard and said in it; what it has not is left out.
        video_id: of the stored video that it comes from; "" for none.
        start_s, end_s: the part of that video.
    """

    name: str
    rows: Mapping[Term, Rows]
    video_id: str = ""
    start_s: float = 0.0
    end_s: float = 0.0

    def asks(self) -> list[tuple[Term, Rows]]:
        """Kinds and (D,) rows whose nearest are worth a look: the middle of what is seen, and some others."""
        asked: list[tuple[Term, Rows]] = []
        for term, rows in self.rows.items():
            if term == "seen":
                middle = rows.mean(axis=0)
                rows = (middle / max(float(np.linalg.norm(middle)), 1e-9))[None]
            few = np.linspace(0, len(rows) - 1, min(len(rows), _MOST_ASKED)).astype(int)
            asked += [(term, row) for row in rows[few]]
        return asked


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Likeness:
    """How like an example n segments are.

    Attributes:
        shares: (n, 3) what is seen, heard and said adds to the score.
        best: by kind of row ("frames", "heard", "said"), (n,) the place in its segment of the row that is
            most alike; -1 for none.
        cosines: by kind, (n,) how alike what it has is; -inf where a segment has none.
        usual: by kind, how alike the middle of the library is.
    """

    shares: Values
    best: Mapping[str, NDArray[np.int64]]
    cosines: Cosines
    usual: Mapping[str, float]


def likeness(example: Example, candidates: Candidates, library: Candidates) -> Likeness:
    """How like it each candidate is, beside what is usual in the library.

    Args:
        example: with rows of at least one kind.
        candidates: n segments, with their frames.
        library: a sample of all segments, with their frames.
    """
    total = sum(WEIGHTS[term] for term in example.rows)
    shares = np.zeros((candidates.n, len(MODALITIES)))
    cosines: dict[Term, Values] = {}
    usual: dict[str, float] = {}
    best = {}
    for term, rows in example.rows.items():
        usual[term] = _usual(_cosines(rows, _stack(library, term), library.n)[0])
        cosines[term], best[_kind(term)] = _cosines(rows, _stack(candidates, term), candidates.n)
        reached = ((cosines[term] - usual[term]) / max(1 - usual[term], 1e-6)).clip(0, 1)
        shares[:, MODALITIES.index(term)] = WEIGHTS[term] / total * reached
    return Likeness(shares=shares, best=best, cosines=cosines, usual=usual)


def _kind(term: Term) -> str:
    return "frames" if term == "seen" else term


def _stack(candidates: Candidates, term: Term) -> Stack:
    if term == "seen":
        return candidates.frames if candidates.frames is not None else candidates.seen
    return candidates.heard if term == "heard" else candidates.said


def _usual(cosines: Values) -> float:
    """The middle of those that there are, held to what is usual elsewhere where they are few."""
    there = cosines[np.isfinite(cosines)]
    trust = len(there) / (len(there) + _PRIOR_N)
    middle = float(np.median(there)) if len(there) else 0.0
    return trust * middle + (1 - trust) * _PRIOR_USUAL


def _cosines(rows: Rows, stack: Stack, n: int) -> tuple[Values, NDArray[np.int64]]:
    """(n,) how alike two sets of rows are, -inf without rows; and the place of each segment's best row.

    Each row of the one is taken with the nearest of the other, and the mean of these is the likeness.
    Whichever is the part of the other decides: a second of a segment, or a segment of a film.
    """
    found, places = np.full(n, -np.inf), np.full(n, -1)
    if not len(stack.rows):
        return found, places
    owners, first, counts = stack.runs()
    cosines = rows @ stack.rows.T
    within = np.maximum.reduceat(cosines, first, axis=1).mean(axis=0)
    nearest = cosines.max(axis=0)
    found[owners] = np.maximum(within, np.add.reduceat(nearest, first) / counts)
    order = np.lexsort((-np.arange(len(nearest)), nearest, stack.owners))
    places[owners] = order[first + counts - 1] - first
    return found, places
