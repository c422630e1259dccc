"""Reads by row: the segments nearest to a query, and the rows of segments."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from savecli.errors import StoreError
from savecli.store import nearest, runs
from savecli.store.catalog import Catalog
from savecli.store.graph import GraphError, RowNumbers
from savecli.store.nearest import Owners, Proposer
from savecli.store.records import SEARCH_KINDS, Hit, Kind, SearchKind
from savecli.store.shelf import Shelf
from savecli.store.vectors import RowView
from savecli.store.views import Views

GRAPH_MIN_ROWS = 100_000
"""Below this many rows no graph is asked or built by itself: they are scanned in less than .01 s."""

SCANS_BEFORE_GRAPH = 3
"""A graph's file is larger than its rows, and is read through before it is trusted: that takes as long as
three scans or more, whatever the size. So a process that searches once asks none (benchmarks/RESULTS.md)."""

_SCANNED_WHOLE = 0.25
"""From this share of the rows on, a scan of all is faster than one of some, which must gather them first."""


_GATHERED_ROWS = 64
"""Converted at a time: what lies between file and result stays in the processor's cache."""


@functools.cache
def _floats() -> NDArray[np.float32]:
    """Each of the 65,536 numbers of 16 bits in 32: numpy converts them one by one, in twice the time."""
    return np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)


class _Ask(NamedTuple):
    """A query (D,) for the `k` nearest segments by the rows of a kind."""

    kind: SearchKind
    view: RowView
    query: NDArray[np.float32]
    k: int
    owners: Owners


class Searcher:
    """Searches one store.

    Attributes:
        last_search_exact: whether the last search for the nearest looked at every row that it should.
        last_search_lacked_graph: whether it did so for some kind because no graph fits its rows, of which
            there are so many that one would pay.
    """

    def __init__(self, catalog: Catalog, views: Views, shelf: Shelf) -> None:
        self._catalog = catalog
        self._views = views
        self._shelf = shelf
        self._n_scans: defaultdict[SearchKind, int] = defaultdict(int)
        self.last_search_exact = True
        self.last_search_lacked_graph = False

    def warm(self) -> None:
        """See `Store.warm`."""
        with self._views.snapshot():
            for kind in SEARCH_KINDS:
                self._n_scans[kind] = SCANS_BEFORE_GRAPH
                if self._views.of(kind).n_live >= GRAPH_MIN_ROWS and self._shelf.pays(kind):
                    self._shelf.newest(kind, self._views.dim)

    def nearest(
        self,
        kind: SearchKind,
        query: NDArray[np.float32],
        k: int,
        *,
        within: Collection[int] | None,
        videos: Collection[int] | None,
    ) -> list[Hit]:
        """See `Store.nearest`."""
        if within is None:
            return self.nearest_each([(kind, query)], k, videos=videos)[0]
        with self._views.snapshot():
            self.last_search_exact, self.last_search_lacked_graph = True, False
            ask = self._ask(kind, query, k)
            return self._among(ask, within) if ask else []

    def nearest_each(
        self,
        asks: Sequence[tuple[SearchKind, NDArray[np.float32]]],
        k: int,
        *,
        videos: Collection[int] | None,
    ) -> list[list[Hit]]:
        """See `Store.nearest_each`."""
        with self._views.snapshot(), ThreadPoolExecutor() as threads:
            self.last_search_exact, self.last_search_lacked_graph = True, False
            given = [self._ask(kind, query, k) for kind, query in asks]
            if videos is not None:
                return [self._of_videos(ask, videos) if ask else [] for ask in given]
            proposers = [self._proposer(ask) if ask else None for ask in given]
            if len(asks) > 1:
                for proposer in filter(None, proposers):
                    proposer.ask_ahead(k, threads)
            pairs = zip(given, proposers, strict=True)
            return [self._of_all(ask, proposer) if ask else [] for ask, proposer in pairs]

    def _ask(self, kind: SearchKind, query: NDArray[np.float32], k: int) -> _Ask | None:
        """What is asked; None where that is nothing, or there is no row of the kind."""
        view = self._views.of(kind)
        if k <= 0 or not view.n_live:
            return None
        if query.shape != (self._views.dim,):
            raise StoreError(
                f"the query has shape {query.shape}, the store's rows have {self._views.dim} numbers",
                hint="use the model that the store was made with",
            )
        return _Ask(kind, view, query, k, self._owners(kind))

    def rows(self, kind: Kind, ids: Iterable[int]) -> dict[int, NDArray[np.float32]]:
        """See `Store.rows`."""
        with self._views.snapshot():
            own = runs.of_segments(self._catalog, kind, ids)
            found = self._gathered(kind, np.array([run[1:] for run in own], np.int64).reshape(-1, 2))
        ends = np.cumsum([n for _, _, n in own], dtype=np.int64)
        return {run[0]: found[end - run[2] : end] for run, end in zip(own, ends, strict=True)}

    def stacks(
        self, kinds: Sequence[Kind], ids: Sequence[int]
    ) -> dict[Kind, tuple[NDArray[np.float32], NDArray[np.int64]]]:
        """See `Store.stacks`."""
        with self._views.snapshot():
            own = runs.by_kind(self._catalog, kinds, ids)
            return {kind: (self._gathered(kind, own[:, i]), own[:, i, 1]) for i, kind in enumerate(kinds)}

    def _gathered(self, kind: Kind, own: NDArray[np.int64]) -> NDArray[np.float32]:
        """(R, D) the rows of (n, 2) first rows and numbers of rows, one run after the other."""
        view = self._views.of(kind)
        starts, counts = own.T
        view.require(int((starts + counts)[counts > 0].max(initial=0)))
        before = np.cumsum(counts) - counts
        numbers = np.repeat(starts - before, counts) + np.arange(counts.sum())
        # Of a plain array: a slice of a mapped one costs ten times as much as what is in it.
        # "clip" looks whether no number is too large; none of 16 bits is.
        halves = view.rows.view(np.ndarray).view(np.uint16)
        gathered = np.empty((len(numbers), self._views.dim), dtype=np.float32)
        for start in range(0, len(numbers), _GATHERED_ROWS):
            block = slice(start, start + _GATHERED_ROWS)
            np.take(_floats(), halves[numbers[block]], out=gathered[block], mode="clip")
        return gathered

    def _among(self, ask: _Ask, within: Collection[int]) -> list[Hit]:
        own = runs.of_segments(self._catalog, ask.kind, within)
        if not own:
            return []
        numbers = np.concatenate([np.arange(start, start + n, dtype=np.int64) for _, start, n in own])
        return nearest.by_scan_of(ask.view, numbers, ask.query, ask.k, ask.owners)

    def _of_videos(self, ask: _Ask, videos: Collection[int]) -> list[Hit]:
        starts, ends = runs.of_videos(self._catalog, ask.kind, videos)
        chosen = replace(ask.view, starts=starts, ends=ends)
        if chosen.n_live > _SCANNED_WHOLE * ask.view.end:
            return nearest.by_scan(chosen, ask.query, ask.k, ask.owners)
        numbers = np.concatenate([np.arange(s, e) for s, e in zip(starts, ends, strict=True)] or [starts])
        if not len(numbers):
            return []
        return nearest.by_scan_of(ask.view, numbers, ask.query, ask.k, ask.owners)

    def _proposer(self, ask: _Ask) -> Proposer | None:
        """The graph to be asked, where one is there and pays."""
        if ask.view.n_live < GRAPH_MIN_ROWS or not self._shelf.pays(ask.kind):
            return None
        if self._n_scans[ask.kind] < SCANS_BEFORE_GRAPH:
            self._n_scans[ask.kind] += 1
            return None
        found = self._shelf.newest(ask.kind, self._views.dim)
        if found is None or nearest.is_spent(ask.view):
            self.last_search_lacked_graph = True
            return None
        entry, graph = found
        return None if nearest.is_much(ask.k, entry.n_rows) else Proposer(entry, graph, ask.query)

    def _of_all(self, ask: _Ask, proposer: Proposer | None) -> list[Hit]:
        if proposer is not None:
            try:
                hits = nearest.by_graph(ask.view, proposer, ask.query, ask.k, ask.owners)
            except GraphError:
                self._shelf.drop(proposer.entry)
                self.last_search_lacked_graph = True
            else:
                if hits is not None:
                    self.last_search_exact = False
                    return hits
        return nearest.by_scan(ask.view, ask.query, ask.k, ask.owners)

    def _owners(self, kind: SearchKind) -> Owners:
        def owners(numbers: RowNumbers) -> list[int]:
            return runs.owners(self._catalog, kind, numbers)

        return owners
