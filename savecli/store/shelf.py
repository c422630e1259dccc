"""The folder `graphs/`: generations of graph files that never change, listed in the catalog.

A graph is a cache: it is used when its file is what the catalog says, and passed over otherwise.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from savecli.errors import StoreError
from savecli.store import graph as engines
from savecli.store.catalog import Catalog
from savecli.store.durable import crc32_of, publish
from savecli.store.graph import Graph, GraphError, RowNumbers
from savecli.store.records import Kind, StoredGraph
from savecli.store.scan import scan, scan_nearly, scan_some
from savecli.store.vectors import RowView, try_unlink

_KEPT = 2
_EFS = (64, 128, 256, 512, 1024, 2048, 4096)
_RECALL_WANTED = 0.94
_EF_THAT_PAYS = 1024
_N_PROBES = 24
_N_TIMED = 5
_PROBE_K = 10
_N_ASKED = 32
_SHARE_FOUND = 0.75
_SAME, _SAME_SCORE = 1e-3, 1e-6


class Shelf:
    """The graphs of a store.

    Args:
        home: the store's folder.
        catalog: lists the generations.
    """

    def __init__(self, home: Path, catalog: Catalog) -> None:
        self._folder = home / "graphs"
        self._catalog = catalog
        self._opened: dict[int, Graph | None] = {}

    def listed(self) -> list[StoredGraph]:
        """All generations that the catalog knows, the newest first."""
        rows = self._catalog.rows(
            "SELECT generation, kind, engine, n_rows, crc32, size_bytes, ef"
            " FROM graphs ORDER BY generation DESC"
        )
        names = ("generation", "kind", "engine", "n_rows", "crc32", "size_bytes", "ef")
        return [StoredGraph(**dict(zip(names, row, strict=True))) for row in rows]

    def newest(self, kind: Kind, dim: int) -> tuple[StoredGraph, Graph] | None:
        """The newest graph over the rows of a kind that can be used, or None."""
        for entry in self.listed():
            if entry.kind == kind and (graph := self._open(entry, dim)):
                return entry, graph
        return None

    def pays(self, kind: Kind) -> bool:
        """Whether the newest graph over a kind, if there is one, was not found to be slower than a scan."""
        return next((entry.ef > 0 for entry in self.listed() if entry.kind == kind), True)

    def drop(self, entry: StoredGraph) -> None:
        """Stops using a graph, for as long as the store is open."""
        self._opened[entry.generation] = None

    def build(self, kind: Kind, view: RowView, engine: str) -> None:
        """Makes a generation over all living rows and lists it; only the newest two stay.

        Raises:
            StoreError: the engine is not installed, or the disk is full.
        """
        view.require(view.end)
        runs = zip(view.starts.tolist(), view.ends.tolist(), strict=True)
        numbers = np.concatenate([np.arange(start, end, dtype=np.int64) for start, end in runs])
        graph = engines.build(engine, view.rows, numbers)
        ef = _measured_ef(graph, view)
        self._folder.mkdir(exist_ok=True)
        temporary = self._folder / f"{kind}.tmp"
        _save_whole(graph, temporary)
        entry = StoredGraph(
            generation=self._next_generation(),
            kind=kind,
            engine=engine,
            n_rows=view.n_rows,
            crc32=crc32_of(temporary),
            size_bytes=temporary.stat().st_size,
            ef=ef,
        )
        publish(temporary, self._folder / entry.name)
        self._list(entry)
        self.sweep()

    def sweep(self) -> None:
        """Removes files that no row of the catalog names."""
        listed = {entry.name for entry in self.listed()}
        if self._folder.is_dir():
            for path in self._folder.iterdir():
                if path.name not in listed:
                    try_unlink(path)

    def fault(self, entry: StoredGraph, view: RowView) -> str | None:
        """What is wrong with a graph, or None: it is read through, and asked for rows of `view`."""
        path = self.path(entry)
        if not _read_through(path, entry):
            return "is damaged or missing"
        try:
            engine = engines.engine_named(entry.engine)
        except StoreError:
            return None  # made on another machine: nothing is wrong with the file
        try:
            return None if _answers(engine.open(path, view.rows.shape[1]), entry, view) else "answers wrongly"
        except GraphError as error:
            return f"cannot be used: {error.message}"

    def usable_engine(self, wanted: str, other: str) -> str:
        """`wanted` where it is installed, or `other`."""
        try:
            engines.engine_named(wanted)
        except StoreError:
            return other
        return wanted

    def remove(self, entries: Iterable[StoredGraph]) -> None:
        """Takes graphs off the list, and their files from disk."""
        with self._catalog.writing():
            for entry in entries:
                self._catalog.run("DELETE FROM graphs WHERE generation = ?", entry.generation)
        self.sweep()

    def path(self, entry: StoredGraph) -> Path:
        """Of a graph's file."""
        return self._folder / entry.name

    def _open(self, entry: StoredGraph, dim: int) -> Graph | None:
        if entry.generation not in self._opened:
            self._opened[entry.generation] = self._open_intact(entry, dim)
        return self._opened[entry.generation]

    def _open_intact(self, entry: StoredGraph, dim: int) -> Graph | None:
        path = self.path(entry)
        try:
            engine = engines.engine_named(entry.engine)
            return engine.open(path, dim) if _read_through(path, entry) else None
        except StoreError:  # made on another machine with an engine that this one lacks, or unusable
            return None

    def _next_generation(self) -> int:
        rows = self._catalog.rows("SELECT seq FROM sqlite_sequence WHERE name = 'graphs'")
        return 1 + int(rows[0][0]) if rows else 1

    def _list(self, entry: StoredGraph) -> None:
        with self._catalog.writing():
            self._catalog.run(
                "INSERT INTO graphs VALUES (?, ?, ?, ?, ?, ?, ?)",
                entry.generation,
                entry.kind,
                entry.engine,
                entry.n_rows,
                entry.crc32,
                entry.size_bytes,
                entry.ef,
            )
            self._catalog.run(
                "DELETE FROM graphs WHERE kind = ? AND generation NOT IN"
                " (SELECT generation FROM graphs WHERE kind = ? ORDER BY generation DESC LIMIT ?)",
                entry.kind,
                entry.kind,
                _KEPT,
            )


def _read_through(path: Path, entry: StoredGraph) -> bool:
    # 0.4 s a GB, once for an open store. Nothing less is safe: both engines follow the links that
    # they find, and one flipped bit under an unchanged mtime crashed usearch in 4 trials of 16.
    try:
        return path.stat().st_size == entry.size_bytes and crc32_of(path) == entry.crc32
    except OSError:
        return False


def _answers(graph: Graph, entry: StoredGraph, view: RowView) -> bool:
    """Whether rows that a graph covers are found by it, most of them at least: it may miss some."""
    rows = np.linspace(0, min(entry.n_rows, len(view.rows)) - 1, _N_ASKED).astype(np.int64)
    rows = np.unique(rows[view.alive(rows)])
    n_found = 0
    for row in rows:
        query = view.rows[row].astype(np.float32)
        found = graph.search(query, _PROBE_K, entry.ef or _EFS[-1])
        if len(found) and (found.min() < 0 or found.max() >= entry.n_rows):
            return False
        best = scan(view.rows[np.sort(found)], query).max(initial=-1)
        n_found += bool(best >= query @ query - _SAME)  # another row may be the same
    return n_found >= _SHARE_FOUND * len(rows)


def _save_whole(graph: Graph, path: Path) -> None:
    try:
        wanted_bytes = graph.save(path)
    except (OSError, RuntimeError) as error:
        raise StoreError(f"cannot write {path}: {error}", hint="free some space") from error
    # hnswlib returns normally when the disk is full.
    if path.stat().st_size != wanted_bytes:
        raise StoreError(f"cannot write all of {path}", hint="free some space")


def _measured_ef(graph: Graph, view: RowView) -> int:
    """The smallest ef that finds the ten nearest rows well enough, or the largest there is.

    0 where a scan of all rows costs no more CPU time than that.

    Half of what it is measured with are points between two random rows, the rest random directions. A text is
    in between: no row is near to it, many are about as far. Of what 30 captions find among 300,000 rows of
    sounds a graph gave .82 at ef 256 and .93 at 4096; of what the directions find .74 and .97, of the points
    all (benchmarks/RESULTS.md).
    """
    probes = _probes(view)
    least = [_tenth(view, probe) for probe in probes]
    for ef in _EFS:
        started = time.process_time()
        found = [graph.search(probe, _PROBE_K, ef) for probe in probes]
        search_s = (time.process_time() - started) / len(probes)
        if _recall(view, probes, least, found) >= _RECALL_WANTED:
            break
    return 0 if ef > _EF_THAT_PAYS and search_s > _scan_s(view, probes[-_N_TIMED:]) else ef


def _probes(view: RowView) -> NDArray[np.float32]:
    """(2P, D) at norm one: points between rows, then directions."""
    rng = np.random.default_rng(0)
    runs = rng.choice(len(view.starts), size=(2, _N_PROBES), p=(view.ends - view.starts) / view.n_live)
    ends = rng.integers(view.starts[runs], view.ends[runs])
    between = view.rows[ends].astype(np.float32).sum(axis=0)
    directions = rng.standard_normal(between.shape, dtype=np.float32)
    probes = np.concatenate([between, directions])
    probes /= np.maximum(np.linalg.norm(probes, axis=1, keepdims=True), 1e-6)
    return probes


def _recall(
    view: RowView, probes: NDArray[np.float32], least: Sequence[float], found: Sequence[RowNumbers]
) -> float:
    """The share of the ten nearest rows, or of others as near, that are `found` for each probe."""
    n_found = 0
    for probe, least_score, numbers in zip(probes, least, found, strict=True):
        scores = scan_some(view.rows, np.sort(numbers), probe)
        n_found += int((scores >= least_score - _SAME_SCORE).sum())
    return n_found / (min(_PROBE_K, view.n_live) * len(probes))


def _scan_s(view: RowView, probes: NDArray[np.float32]) -> float:
    """The CPU time of a scan, of which several threads share the work."""
    started = time.process_time()
    for probe in probes:
        scan_nearly(view.rows[: view.end], probe)
    return (time.process_time() - started) / len(probes)


def _tenth(view: RowView, probe: NDArray[np.float32]) -> float:
    """The score of the tenth nearest living row, or of the last."""
    scores = scan(view.rows[: view.end], probe)
    scores[~view.alive(np.arange(view.end))] = -np.inf
    count = min(_PROBE_K, view.n_live)
    return float(np.partition(scores, -count)[-count])
