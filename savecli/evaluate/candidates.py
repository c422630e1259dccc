"""Which videos an HNSW graph proposes for a caption, and what a search through it loses."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from savecli.bench.metrics import Recall
from savecli.bench.report import GraphLoss
from savecli.evaluate.models import Rows
from savecli.store.graph import build

N_CANDIDATES = 200
"""Rows that each graph gives for a caption, as in a search."""
EF = 256
N_BEST = 10


def proposed(
    engine: str,
    indexed: Mapping[str, tuple[Rows, NDArray[np.int64]]],
    asked: Mapping[str, Rows],
    n_videos: int,
) -> NDArray[np.bool_]:
    """(Q, V), True where one of a video's rows is among the nearest of its kind.

    Args:
        engine: "usearch" or "hnswlib".
        indexed: see `Gallery.indexed`.
        asked: see `Gallery.asked`.
        n_videos: V.

    Raises:
        StoreError: the engine is not installed, or gave up.
    """
    n_captions = len(next(iter(asked.values())))
    found = np.zeros((n_captions, n_videos), np.bool_)
    for kind, (rows, owners) in indexed.items():
        graph = build(engine, rows.astype(np.float16), np.arange(len(rows)))  # as a store has them
        for caption, row in enumerate(asked[kind]):
            found[caption, owners[graph.search(row, N_CANDIDATES, EF)]] = True
    return found


def masked(score: Rows, found: NDArray[np.bool_]) -> Rows:
    """What a search would see: candidates with their exact scores, everything else behind them."""
    return np.where(found, score, np.float32(-np.inf))


def loss(engine: str, score: Rows, found: NDArray[np.bool_], exact: Recall) -> GraphLoss:
    """What `masked` loses of the exact (Q, V) scores, whose recall is `exact`.

    Of equal scores the video that comes first is taken.
    """
    n_best = min(N_BEST, score.shape[1])
    kept = [
        found[caption, np.argsort(-row, kind="stable")[:n_best]].mean() for caption, row in enumerate(score)
    ]
    return GraphLoss(engine=engine, n_candidates=N_CANDIDATES, recall_at_10=float(np.mean(kept)), exact=exact)
