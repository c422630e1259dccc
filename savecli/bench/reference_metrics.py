"""Recall as the code that most papers of this field use counts it, ties and all: for comparison only.

From the description in ../shared/parity/README.md, section 11. Without ties, and with finite scores, it
differs from `savecli.bench.metrics` in one thing: with several captions per video, MdR of text to video is
the lower of the two middle ranks.

- Where each video has one caption (the square case), every candidate that scores as high as the right one is
  an entry of its own, ranks being those of all places that equal scores share, and R@k is a share of entries.
  A model that gives every pair of V one score has V x V entries, and R@1 = 100 / V.
- With several captions per video, also if each happens to have one (MSR-VTT, VATEX), text to video counts one
  entry per caption; which place it gets among equals is left to a sort, here a stable one: columns further
  left come first. Video to text takes the best caption of each video, and is then the square case.
- Either way a query whose own score is infinite is not counted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from savecli.bench.metrics import Recall, best_of, blocks, captions_of, check, recall

if TYPE_CHECKING:
    from numpy.typing import NDArray

SQUARE = ("charades", "lsmdc")
"""Benchmarks whose usual code takes the square case; others are read as having several captions."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Entries:
    """What one direction is counted over.

    Attributes:
        ranks: (N,) 1-based.
        queries: (N,) which query each belongs to, ascending; with ties a query has several.
        n_queries: of all; one whose own score is infinite has no entry.
        lower_median: whether MdR is the lower of the two middle ranks.
    """

    ranks: NDArray[np.int64]
    queries: NDArray[np.int64]
    n_queries: int
    lower_median: bool = False

    def recall(self, chosen: NDArray[np.bool_] | None = None) -> Recall:
        """Over all entries, or those of the `chosen` queries, (n_queries,).

        `n_queries` of what it returns is the number of entries.

        Raises:
            ValueError: where there is none.
        """
        ranks = self.ranks if chosen is None else self.ranks[chosen[self.queries]]
        found = recall(ranks)
        if not self.lower_median:
            return found
        return replace(found, median_rank=float(np.quantile(ranks, 0.5, method="lower")))

    def first(self) -> NDArray[np.int64]:
        """The best rank that each query has, (n_queries,); 0 for one that is not counted."""
        ranks = np.zeros(self.n_queries, np.int64)
        counted, at = np.unique(self.queries, return_index=True)  # the first entry of a query is its best
        ranks[counted] = self.ranks[at]
        return ranks


def reference_recall(
    similarity: NDArray[Any], targets: NDArray[Any], *, square: bool = False
) -> tuple[Recall, Recall]:
    """Text to video and video to text; arguments and errors are those of `reference_entries`."""
    t2v, v2t = reference_entries(similarity, targets, square=square)
    return t2v.recall(), v2t.recall()


def reference_entries(
    similarity: NDArray[Any], targets: NDArray[Any], *, square: bool = False
) -> tuple[Entries, Entries]:
    """What text to video and video to text are counted over.

    Queries are captions in their order, and the videos that have captions in the order of their columns.

    Args:
        similarity: (Q, V).
        targets: (Q,).
        square: whether it is the square case, see SQUARE.

    Raises:
        ValueError: where shapes do not fit, a target is no column, a score is NaN, or `square` is asked for
            and some video has several captions or none.
    """
    check(similarity, targets)
    described, groups = captions_of(targets)
    if square and not len(described) == len(targets) == similarity.shape[1]:
        raise ValueError("the square case needs one caption for each video")
    own = similarity[np.arange(len(targets)), targets]
    above, equal, before = (np.empty(len(targets), np.int64) for _ in range(3))
    columns = np.arange(similarity.shape[1])
    for some in blocks(len(targets)):
        score, right = similarity[some], own[some, np.newaxis]
        above[some] = np.count_nonzero(score > right, axis=1)
        ties = score == right
        equal[some] = np.count_nonzero(ties, axis=1)
        before[some] = np.count_nonzero(ties & (columns < targets[some, np.newaxis]), axis=1)
    t2v = _shared_places(own, above, equal) if square else _sorted_places(own, above + before)
    best = np.array([similarity[rows, v].max() for rows, v in zip(groups, described, strict=True)])
    above, equal = np.zeros(len(described), np.int64), np.zeros(len(described), np.int64)
    for rows in groups:
        score = best_of(similarity, rows)[described]
        above += score > best
        equal += score == best
    return t2v, _shared_places(best, above, equal)


def _sorted_places(own: NDArray[Any], places: NDArray[np.int64]) -> Entries:
    """An entry for each query."""
    queries = np.flatnonzero(np.isfinite(own))
    return Entries(ranks=places[queries] + 1, queries=queries, n_queries=len(own), lower_median=True)


def _shared_places(own: NDArray[Any], above: NDArray[np.int64], equal: NDArray[np.int64]) -> Entries:
    """An entry for each place that a query's own score shares."""
    n_places = np.where(np.isfinite(own), equal, 0)
    queries = np.repeat(np.arange(len(own)), n_places)
    firsts = np.cumsum(n_places) - n_places
    places = np.arange(len(queries)) - firsts[queries]
    return Entries(ranks=above[queries] + places + 1, queries=queries, n_queries=len(own))
