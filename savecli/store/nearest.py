"""Which segments lie nearest to a query: by the exact scan, or by a graph and the rows behind it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from savecli.store.graph import Graph, GraphError, RowNumbers
from savecli.store.records import Hit
from savecli.store.scan import scan, scan_some
from savecli.store.vectors import RowView

Query = NDArray[np.float32]
Owners = Callable[[RowNumbers], list[int]]
"""The segment that each of some living rows belongs to."""

_DEAD_SHARE_FOR_GRAPH = 0.3
_LARGEST_SHARE_OF_GRAPH = 4


def by_scan(view: RowView, query: Query, k: int, owners: Owners) -> list[Hit]:
    """The nearest segments, from all living rows.

    Raises:
        StoreError: the vector file has lost rows.
    """
    view.require(view.end)
    scores = scan(view.rows[: view.end], query)
    dead_starts = np.concatenate([[0], view.ends[:-1]])
    for start, end in zip(dead_starts.tolist(), view.starts.tolist(), strict=False):
        scores[start:end] = -np.inf
    numbers = np.arange(view.end, dtype=np.int64)
    return _best_segments(numbers, scores, min(k, view.n_live), owners)


def by_scan_of(view: RowView, numbers: RowNumbers, query: Query, k: int, owners: Owners) -> list[Hit]:
    """The nearest segments among those that own the living rows `numbers` (N,).

    Raises:
        StoreError: the vector file has lost some of these rows.
    """
    view.require(int(numbers.max(initial=-1)) + 1)
    return _best_segments(numbers, scan_some(view.rows, numbers, query), k, owners)


def is_spent(view: RowView) -> bool:
    """Whether so many rows are dead that a graph over them is no help."""
    return view.n_live < (1 - _DEAD_SHARE_FOR_GRAPH) * view.n_rows


def by_graph(
    view: RowView, graph: Graph, covered: int, ef: int, query: Query, k: int, owners: Owners
) -> list[Hit] | None:
    """The nearest segments, from a graph over the rows before `covered` and a scan of those behind.

    Returns None where the graph is no help: many rows are dead, or `k` is a large part of it.

    Raises:
        GraphError: the engine gave up, or the graph is not over these rows.
        StoreError: the vector file has lost rows.
    """
    view.require(view.end)
    if is_spent(view):
        return None
    tail = np.arange(covered, view.end, dtype=np.int64)
    is_alive = view.alive(tail)
    # Gathering living rows would take longer than looking at the dead ones too.
    tail, tail_scores = tail[is_alive], scan(view.rows[covered : view.end], query)[is_alive]
    asked = max(64, 2 * k)
    while asked <= covered // _LARGEST_SHARE_OF_GRAPH:
        found = _checked(graph.search(query, asked, ef), covered)
        scores = scan_some(view.rows, found, query)
        # Covered rows that the graph kept back score no higher than the last one it gave.
        floor = scores.min(initial=np.inf)
        alive = view.alive(found)
        hits = _best_segments(
            np.concatenate([found[alive], tail]), np.concatenate([scores[alive], tail_scores]), k, owners
        )
        if len(hits) == k and hits[-1].score >= floor:
            return hits
        asked *= 4
    return None


def _checked(found: RowNumbers, covered: int) -> RowNumbers:
    if not len(found) or found.min() < 0 or found.max() >= covered:
        raise GraphError("the graph names rows that it does not cover")
    return np.unique(found)


def _best_segments(numbers: RowNumbers, scores: NDArray[np.float32], k: int, owners: Owners) -> list[Hit]:
    """The `k` segments whose best row scores highest; rows that score -inf are dead."""
    n_rows = int(np.isfinite(scores).sum())
    asked = min(max(2 * k, 16), n_rows)
    while True:
        top = np.argpartition(-scores, asked - 1)[:asked] if asked < len(scores) else np.arange(len(scores))
        top = top[np.isfinite(scores[top])]
        top = top[np.lexsort((numbers[top], -scores[top]))]
        best: dict[int, float] = {}
        for segment_id, score in zip(owners(numbers[top]), scores[top].tolist(), strict=True):
            best.setdefault(segment_id, score)
        if len(best) >= k or asked >= n_rows:
            return [Hit(segment_id=s, score=v) for s, v in list(best.items())[:k]]
        asked = min(4 * asked, n_rows)
