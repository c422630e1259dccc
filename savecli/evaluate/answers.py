"""A similarity matrix -> recall of both directions, by kind of caption, and every answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from savecli.bench import metrics
from savecli.bench.kinds import KINDS, kind_of
from savecli.bench.metrics import Recall, recall
from savecli.bench.records import Clip
from savecli.bench.reference_metrics import SQUARE, Entries, reference_entries
from savecli.bench.report import Answer
from savecli.evaluate.models import Rows

N_TOP = 5

Ranks = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measured:
    """Both directions, over all queries.

    Attributes:
        t2v, v2t: recall.
        by_kind: t2v for the captions of each kind that there is.
        answers: see `Report.answers`.
    """

    t2v: Recall
    v2t: Recall
    by_kind: Mapping[str, Recall]
    answers: Mapping[str, tuple[Answer, ...]]


def measured(
    score: Rows, clips: Sequence[Clip], benchmark: str, *, dual_softmax: bool, reference: bool
) -> Measured:
    """What a (Q, V) matrix comes to, where queries are the captions of V clips, clip by clip."""
    captions = [caption for clip in clips for caption in clip.captions]
    n_captions = [len(clip.captions) for clip in clips]
    targets = np.repeat(np.arange(len(clips)), n_captions)
    forth = metrics.dual_softmax(score, targets, "t2v") if dual_softmax else score
    back = metrics.dual_softmax(score, targets, "v2t") if dual_softmax else score
    kinds = np.array([kind_of(caption) for caption in captions])
    t2v: _Counted | Entries
    v2t: _Counted | Entries
    if reference:
        square = benchmark in SQUARE and max(n_captions) == 1
        t2v = reference_entries(forth, targets, square=square)[0]
        v2t = reference_entries(back, targets, square=square)[1]
    else:
        t2v, v2t = _Counted(metrics.t2v_ranks(forth, targets)), _Counted(metrics.v2t_ranks(back, targets))
    ids = [clip.video_id for clip in clips]
    asked = zip(captions, (ids[i] for i in targets), kinds.tolist(), strict=True)
    return Measured(
        t2v=t2v.recall(),
        v2t=v2t.recall(),
        by_kind={kind: t2v.recall(kinds == kind) for kind in KINDS if (kinds == kind).any()},
        answers={
            "t2v": _answers(asked, t2v.first(), _top(forth, ids)),
            "v2t": _answers(((i, i, "") for i in ids), v2t.first(), _top(back.T, captions)),
        },
    )


@dataclass(frozen=True, slots=True)
class _Counted:
    """One rank a query; what `Entries` is for the reference's rule."""

    ranks: Ranks

    def recall(self, chosen: NDArray[np.bool_] | None = None) -> Recall:
        return recall(self.ranks if chosen is None else self.ranks[chosen])

    def first(self) -> Ranks:
        return self.ranks


def _answers(
    asked: Iterator[tuple[str, str, str]], ranks: Ranks, top: Iterator[tuple[tuple[str, float], ...]]
) -> tuple[Answer, ...]:
    return tuple(
        Answer(query=query, video_id=video_id, kind=kind, rank=rank, top=best)
        for (query, video_id, kind), rank, best in zip(asked, ranks.tolist(), top, strict=True)
    )


def _top(score: NDArray[np.floating], names: Sequence[str]) -> Iterator[tuple[tuple[str, float], ...]]:
    """For each row, the names of the best columns with their scores; -inf was no candidate."""
    n = min(N_TOP, score.shape[1])
    for rows in metrics.blocks(len(score)):
        for row in np.ascontiguousarray(score[rows]):
            best = np.argpartition(-row, n - 1)[:n]
            best = best[np.lexsort((best, -row[best]))]
            yield tuple((names[i], float(row[i])) for i in best if row[i] > -np.inf)
