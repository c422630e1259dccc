"""Similarity matrix -> ranks -> R@1/5/10, MdR, MnR, text to video (t2v) and video to text (v2t).

A similarity matrix is (Q, V), a row for each caption and a column for each video; `targets` is (Q,), the
column of the video that each caption belongs to. Ranks are 1-based.

Ties count against the model: a rank is the number of candidates that score at least as high as the right
one, itself included. A model that gives every pair one score comes last, whatever order a sort would leave.
Where no scores are equal, ranks are those of ../shared/parity/README.md, section 11; with ties, those of
`savecli.bench.reference_metrics` are, for comparison only.

Nothing here holds a second matrix, but for `dual_softmax`, which returns one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK = 256  # rows or columns at once, so that what is held beside the matrix stays small
DUAL_TEMPERATURE = 3.0  # of `dual_softmax`; section 11


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """How well queries find what they belong to.

    Attributes:
        r1, r5, r10: per cent of the queries whose rank is at most 1, 5, 10 (R@1, R@5, R@10).
        median_rank: MdR; the mean of the middle two where their number is even.
        mean_rank: MnR.
        n_queries: captions for t2v, videos for v2t; for a reference's rule see `reference_metrics`.
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


def sum_of_six(t2v: Recall, v2t: Recall) -> float:
    """R@1 + R@5 + R@10 of both directions, 0..600: what other papers than SAVE's call SumR or RSum."""
    return t2v.sum_r + v2t.sum_r


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
    check(similarity, targets)
    own = similarity[np.arange(len(targets)), targets]
    ranks = np.empty(len(targets), np.int64)
    for rows in blocks(len(targets)):
        ranks[rows] = np.count_nonzero(similarity[rows] >= own[rows, np.newaxis], axis=1)
    return ranks


def v2t_ranks(similarity: NDArray[Any], targets: NDArray[Any]) -> NDArray[np.int64]:
    """The rank of each video's captions among those of all videos.

    The captions of one video count as one, which is found as well as the best of them. Videos without a
    caption are no queries here: (N,) ranks, N <= V, in the order of their columns.

    Raises:
        ValueError: where shapes do not fit, a target is no column, or a score is NaN.
    """
    check(similarity, targets)
    described, groups = captions_of(targets)
    own = np.array([similarity[rows, v].max() for rows, v in zip(groups, described, strict=True)])
    ranks = np.zeros(len(described), np.int64)
    for rows in groups:
        ranks += best_of(similarity, rows)[described] >= own
    return ranks


def dual_softmax(
    similarity: NDArray[Any],
    targets: NDArray[Any],
    direction: Literal["t2v", "v2t"],
    *,
    temperature: float = DUAL_TEMPERATURE,
) -> NDArray[Any]:
    """Scores times how much of their candidate's attention, or their query's, they get: a (Q, V) copy.

    It looks at all queries of a test at once, which no search can do, and flatters most models: only on
    request, and labelled. Text to video, a score is multiplied by its share in the softmax over the captions
    of all videos; where videos have several, over those that come at the same place in their video's list,
    so that captions of one video do not compete (section 11). Video to text it is the softmax over videos.
    The variant of the usual code that reads the weights of several captions transposed is not offered.

    A score of -inf stays what it is. It is made for logits such as SAVE's; a product with a negative score
    grows as its share shrinks.

    Args:
        similarity: (Q, V).
        targets: (Q,).
        direction: of the ranks that it is for; each has its own scores.
        temperature: of the softmax.

    Raises:
        ValueError: where shapes do not fit, a target is no column, or a score is NaN or inf.
    """
    check(similarity, targets)
    if np.isposinf(similarity.max()):
        raise ValueError("the similarity matrix holds inf")
    scores = np.empty_like(similarity)
    if direction == "v2t":
        for rows in blocks(len(similarity)):
            scores[rows] = _weighted(similarity[rows], 1, temperature)
        return scores
    slots = _slots(targets)
    for slot in range(slots.max() + 1):
        captions = np.flatnonzero(slots == slot)
        for columns in blocks(similarity.shape[1]):
            scores[captions, columns] = _weighted(similarity[captions, columns], 0, temperature)
    return scores


def _weighted(scores: NDArray[Any], axis: int, temperature: float) -> NDArray[np.float64]:
    """x softmax(x / temperature) along an axis."""
    x = scores.astype(np.float64)
    highest = x.max(axis=axis, keepdims=True)
    highest[np.isneginf(highest)] = 0.0  # nothing but -inf: no share, and not NaN
    share = np.exp((x - highest) / temperature)
    share /= np.maximum(share.sum(axis=axis, keepdims=True), np.finfo(np.float64).tiny)
    np.multiply(x, share, out=x, where=np.isfinite(x))
    return x


def _slots(targets: NDArray[Any]) -> NDArray[np.int64]:
    """The place of each caption among those of its video, from 0, (Q,)."""
    slots = np.empty(len(targets), np.int64)
    for rows in captions_of(targets)[1]:
        slots[rows] = np.arange(len(rows))
    return slots


def captions_of(targets: NDArray[Any]) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    """The columns that have captions, ascending, and the rows of each."""
    order = np.argsort(targets, kind="stable")
    described, starts = np.unique(targets[order], return_index=True)
    return described, np.split(order, starts[1:])


def best_of(similarity: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[Any]:
    """The best score that any of these captions has with each video, (V,)."""
    best: NDArray[Any] = similarity[rows[0]]
    for some in blocks(len(rows)):
        best = np.maximum(best, similarity[rows[some]].max(axis=0))
    return best


def blocks(n: int) -> Iterator[slice]:
    """Slices of BLOCK that cover 0..n."""
    return (slice(start, start + BLOCK) for start in range(0, n, BLOCK))


def check(similarity: NDArray[Any], targets: NDArray[Any]) -> None:
    """Refuse what has no ranks.

    Raises:
        ValueError: where shapes do not fit, a target is no column, or a score is NaN.
    """
    if similarity.ndim != 2 or targets.shape != similarity.shape[:1] or not similarity.size:
        shapes = f"{list(similarity.shape)} and {list(targets.shape)}"
        raise ValueError(f"similarity and targets must be (Q, V) and (Q,): {shapes}")
    if targets.dtype.kind not in "iu" or targets.min() < 0 or targets.max() >= similarity.shape[1]:
        raise ValueError("a target must be the column of a video")
    if np.isnan(similarity.min()):  # the minimum of anything with NaN is NaN: no second matrix needed
        raise ValueError("the similarity matrix holds NaN")
