"""Which segments lie nearest to a query: by the exact scan, or by a graph and the rows behind it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future

import numpy as np
from numpy.typing import NDArray

from savecli.store.graph import Graph, GraphError, RowNumbers
from savecli.store.records import Hit, StoredGraph
from savecli.store.scan import scan, scan_nearly, scan_some
from savecli.store.vectors import RowView

Query = NDArray[np.float32]
Owners = Callable[[RowNumbers], list[int]]
"""The segment that each of some living rows belongs to."""

_DEAD_SHARE_FOR_GRAPH = 0.3
_LARGEST_SHARE_OF_GRAPH = 4
_FEW = 2048


class Proposer:
    """A graph that is asked for the rows nearest to one query.

    Args:
        entry: the graph, as it is listed.
        graph: the same, open.
        query: (D,).
    """

    def __init__(self, entry: StoredGraph, graph: Graph, query: Query) -> None:
        self.entry = entry
        self._graph = graph
        self._query = query
        self._ahead: tuple[int, Future[RowNumbers]] | None = None

    def ask_ahead(self, k: int, threads: Executor) -> None:
        """Lets another thread search for what `by_graph` asks first."""
        count = asked_first(k)
        self._ahead = count, threads.submit(self._search, count)

    def ask(self, count: int) -> RowNumbers:
        """About the `count` nearest rows, ascending; all are before `entry.n_rows`.

        Raises:
            GraphError: the engine gave up, or the graph is not over these rows.
        """
        found = self._ahead[1].result() if self._ahead and self._ahead[0] == count else self._search(count)
        if not len(found) or found.min() < 0 or found.max() >= self.entry.n_rows:
            raise GraphError("the graph names rows that it does not cover")
        return np.unique(found)

    def _search(self, count: int) -> RowNumbers:
        return self._graph.search(self._query, count, self.entry.ef)


def by_scan(view: RowView, query: Query, k: int, owners: Owners) -> list[Hit]:
    """The nearest segments, from all living rows.

    Raises:
        StoreError: the vector file has lost rows.
    """
    view.require(view.end)
    scores, error = scan_nearly(view.rows[: view.end], query)
    dead_starts = np.concatenate([[0], view.ends[:-1]])
    for start, end in zip(dead_starts.tolist(), view.starts.tolist(), strict=False):
        scores[start:end] = -np.inf
    numbers = np.arange(view.end, dtype=np.int64)

    def exactly(some: RowNumbers) -> NDArray[np.float32]:
        every = len(some) == len(numbers)
        return scan(view.rows[: view.end], query) if every else scan_some(view.rows, some, query)

    return _best_segments(numbers, scores, min(k, view.n_live), owners, error, exactly)


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


def is_much(k: int, covered: int) -> bool:
    """Whether the `k` nearest segments may be so large a part of a graph that a scan finds them sooner."""
    return asked_first(k) > covered // _LARGEST_SHARE_OF_GRAPH


def asked_first(k: int) -> int:
    """How many rows a graph is asked for first: a segment may have several."""
    return max(64, 2 * k)


def by_graph(view: RowView, proposer: Proposer, query: Query, k: int, owners: Owners) -> list[Hit] | None:
    """The nearest segments, from what a graph proposes and a scan of the rows behind it.

    Returns None where the graph is no help: more and more rows would have to be asked for.

    Raises:
        GraphError: the engine gave up, or the graph is not over these rows.
        StoreError: the vector file has lost rows.
    """
    view.require(view.end)
    covered = proposer.entry.n_rows
    tail = np.arange(covered, view.end, dtype=np.int64)
    is_alive = view.alive(tail)
    # Gathering living rows would take longer than looking at the dead ones too.
    tail, tail_scores = tail[is_alive], scan(view.rows[covered : view.end], query)[is_alive]
    asked = asked_first(k)
    while asked <= covered // _LARGEST_SHARE_OF_GRAPH:
        found = proposer.ask(asked)
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


def _best_segments(
    numbers: RowNumbers,
    scores: NDArray[np.float32],
    k: int,
    owners: Owners,
    error: float = 0.0,
    exactly: Callable[[RowNumbers], NDArray[np.float32]] | None = None,
) -> list[Hit]:
    """The `k` segments whose best row scores highest; rows that score -inf are dead.

    Scores that may be off by `error` only tell which rows can be among the best; `exactly` scores those.
    """
    n_rows = int(np.isfinite(scores).sum())
    asked = min(max(2 * k, 16), n_rows)
    while True:
        top = np.argpartition(-scores, asked - 1)[:asked] if asked < len(scores) else np.arange(len(scores))
        top = top[np.isfinite(scores[top])]
        found = scores[top]
        if exactly is not None:
            top = np.flatnonzero(np.isfinite(scores) & (scores >= found.min(initial=np.inf) - 2 * error))
            if len(top) > max(8 * asked, _FEW):  # many are alike, as silence is: score all of them once
                scores, exactly = np.where(np.isfinite(scores), exactly(numbers), scores), None
                continue
            found = exactly(numbers[top])
        order = np.lexsort((numbers[top], -found))[:asked]
        top, found = top[order], found[order]
        best: dict[int, float] = {}
        for segment_id, score in zip(owners(numbers[top]), found.tolist(), strict=True):
            best.setdefault(segment_id, score)
        if len(best) >= k or asked >= n_rows:
            return [Hit(segment_id=s, score=v) for s, v in list(best.items())[:k]]
        asked = min(4 * asked, n_rows)
