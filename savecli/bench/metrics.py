"""Similarity matrix -> ranks -> R@1/5/10, MdR, MnR, text to video (t2v) and video to text (v2t).

A similarity matrix is (Q, V), a row for each caption and a column for each video; `targets` is (Q,), the
column of the video that each caption belongs to. Ranks are 1-based.

Ties count against the model: a rank is the number of candidates that score at least as high as the right
one, itself included. A model that gives every pair one score comes last, whatever order a sort would leave.
Where no scores are equal, ranks are those of ../shared/parity/README.md, section 11.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK_ROWS = 256  # compared at once, so that what is held beside the matrix stays small


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """How well queries find what they belong to.

    Attributes:
        r1, r5, r10: per cent of the queries whose rank is at most 1, 5, 10 (R@1, R@5, R@10).
        median_rank: MdR; the mean of the middle two where their number is even.
        mean_rank: MnR.
        n_queries: captions for t2v, videos for v2t.
    """

    r1: float
    r5: float
    r10: float
    median_rank: float
    mean_rank: float
    n_queries: int

    @property
    def sum_r(self) -> float:
        """R@1 + R@5 + R@10 of this direction, 0..300."""
        return self.r1 + self.r5 + self.r10


def recall(ranks: NDArray[np.int64]) -> Recall:
    """Sum up (N,) 1-based ranks.

    Raises:
        ValueError: where there is none.
    """
    if ranks.ndim != 1 or not ranks.size:
        raise ValueError(f"recall needs one rank or more, got {list(ranks.shape)}")
    r1, r5, r10 = (100.0 * int(np.count_nonzero(ranks <= k)) / ranks.size for k in (1, 5, 10))
    return Recall(
        r1=r1,
        r5=r5,
        r10=r10,
        median_rank=float(np.median(ranks)),
        mean_rank=float(ranks.mean()),
        n_queries=ranks.size,
    )


def t2v_ranks(similarity: NDArray[Any], targets: NDArray[Any]) -> NDArray[np.int64]:
    """The rank of each caption's video among all videos, (Q,).

    Raises:
        ValueError: where shapes do not fit, a target is no column, or a score is NaN.
    """
    _check(similarity, targets)
    own = similarity[np.arange(len(targets)), targets]
    ranks = np.empty(len(targets), np.int64)
    for start in range(0, len(targets), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        ranks[rows] = np.count_nonzero(similarity[rows] >= own[rows, np.newaxis], axis=1)
    return ranks


def v2t_ranks(similarity: NDArray[Any], targets: NDArray[Any]) -> NDArray[np.int64]:
    """The rank of each video's captions among those of all videos.

    The captions of one video count as one, which is found as well as the best of them. Videos without a
    caption are no queries here: (N,) ranks, N <= V, in the order of their columns.

    Raises:
        ValueError: where shapes do not fit, a target is no column, or a score is NaN.
    """
    _check(similarity, targets)
    order = np.argsort(targets, kind="stable")
    described, starts = np.unique(targets[order], return_index=True)
    groups = np.split(order, starts[1:])
    own = np.array([similarity[rows, v].max() for rows, v in zip(groups, described, strict=True)])
    ranks = np.zeros(len(described), np.int64)
    for rows in groups:
        best = similarity[rows].max(axis=0)[described]
        ranks += best >= own
    return ranks


def _check(similarity: NDArray[Any], targets: NDArray[Any]) -> None:
    if similarity.ndim != 2 or targets.shape != similarity.shape[:1] or not similarity.size:
        shapes = f"{list(similarity.shape)} and {list(targets.shape)}"
        raise ValueError(f"similarity and targets must be (Q, V) and (Q,): {shapes}")
    if targets.dtype.kind not in "iu" or targets.min() < 0 or targets.max() >= similarity.shape[1]:
        raise ValueError("a target must be the column of a video")
    if np.isnan(similarity.min()):  # the minimum of anything with NaN is NaN: no second matrix needed
        raise ValueError("the similarity matrix holds NaN")
