"""HNSW graphs behind one interface, by two engines. The only module that imports usearch and hnswlib.

A graph only proposes rows: their scores are computed from the vector files, so that a graph can miss
a row but never make up a score. Neither engine checks what it reads: size and CRC come first.
"""

from __future__ import annotations

import functools
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from savecli.errors import StoreError
from savecli.store.vectors import Rows

# M and efConstruction of Malkov & Yashunin, https://arxiv.org/abs/1603.09320. With M = 16 no search, however
# wide, reached 2 % of the nearest among 900,000 rows (benchmarks/RESULTS.md).
CONNECTIVITY = 32
EF_CONSTRUCTION = 128
_BLOCK_ROWS = 8192
_ENGINE_ERRORS = (RuntimeError, ValueError, OSError, MemoryError)
_INTERRUPTED = "has been terminated"

RowNumbers = NDArray[np.int64]


class GraphError(StoreError):
    """A graph file that its engine cannot use; the exact scan answers instead."""


class Graph(Protocol):
    """A graph over rows of D, found again by their number."""

    def add(self, numbers: RowNumbers, rows: Rows) -> None:
        """Adds `rows` (N, D) under `numbers` (N,)."""

    def save(self, path: Path) -> int:
        """Writes the graph to `path` and returns the bytes that the file must have."""

    def search(self, query: NDArray[np.float32], k: int, ef: int) -> RowNumbers:
        """The numbers of about the `k` nearest rows, fewer where there are fewer; from any thread.

        Raises:
            GraphError: the engine gave up.
        """


class Engine(Protocol):
    """How an engine makes an empty graph, and opens a finished one."""

    def create(self, dim: int, n_rows: int) -> Graph:
        """An empty graph with room for `n_rows` rows of `dim`."""

    def open(self, path: Path, dim: int) -> Graph:
        """Opens a file that `Graph.save` wrote and whose checksum was compared.

        Raises:
            GraphError: the engine cannot use it.
        """


class UsearchEngine:
    """usearch: float16, opened by mapping the file, wheels everywhere."""

    def create(self, dim: int, n_rows: int) -> UsearchGraph:  # noqa: ARG002 - it grows by itself
        from usearch.index import Index

        return UsearchGraph(
            Index(
                ndim=dim,
                metric="cos",
                dtype="f16",
                connectivity=CONNECTIVITY,
                expansion_add=EF_CONSTRUCTION,
                enable_key_lookups=False,
            )
        )

    def open(self, path: Path, dim: int) -> UsearchGraph:
        graph = self.create(dim, 0)
        try:
            graph.index.view(path)
        except _ENGINE_ERRORS as error:
            raise GraphError(f"usearch cannot open {path}: {error}") from error
        if graph.index.ndim != dim:
            raise GraphError(f"{path} is over rows of {graph.index.ndim}, not {dim}")
        return graph


class UsearchGraph:
    """A graph of usearch."""

    def __init__(self, index: Any) -> None:  # noqa: ANN401 - the package is untyped
        self.index = index
        self._lock = Lock()

    def add(self, numbers: RowNumbers, rows: Rows) -> None:
        # Threads that add at once can leave rows that no search reaches: some of 1,200 in one graph of sixty,
        # .03 % of 60,000 (benchmarks/RESULTS.md, https://github.com/unum-cloud/USearch/issues/735). One takes
        # longer, so it adds only the first rows alone: in a small graph each one counts.
        threads = 0 if len(self.index) else 1
        try:
            self.index.add(numbers.astype(np.uint64), rows, threads=threads)
        except RuntimeError as error:
            _pass_on_interrupt(error)
            raise

    def save(self, path: Path) -> int:
        self.index.save(path)
        return int(self.index.serialized_length)

    def search(self, query: NDArray[np.float32], k: int, ef: int) -> RowNumbers:
        try:
            with self._lock:
                self.index.expansion_search = max(ef, k)
                found = self.index.search(query.astype(np.float16), min(k, len(self.index)))
        except _ENGINE_ERRORS as error:
            _pass_on_interrupt(error)
            raise GraphError(f"usearch gave up: {error}") from error
        numbers: RowNumbers = np.asarray(found.keys).astype(np.int64)
        return numbers


def _pass_on_interrupt(error: Exception) -> None:
    """Raises what Ctrl-C raises where that ended usearch, which puts an error of its own in its place."""
    if _INTERRUPTED in str(error):
        raise KeyboardInterrupt from error


class HnswlibEngine:
    """hnswlib: float32, read into memory as a whole, compiled at install time."""

    def create(self, dim: int, n_rows: int) -> HnswlibGraph:
        index = self._index(dim)
        index.init_index(max_elements=n_rows, M=CONNECTIVITY, ef_construction=EF_CONSTRUCTION)
        return HnswlibGraph(index)

    def open(self, path: Path, dim: int) -> HnswlibGraph:
        # hnswlib believes the dimension that it is told, and reads past the rows where it is wrong.
        # Its header: six size_t, of which the last two are the ends of a row's place in its record.
        header = np.fromfile(path, dtype="<u8", count=6)
        if len(header) < 6 or header[4] - header[5] != 4 * dim:
            raise GraphError(f"{path} is not over rows of {dim}")
        index = self._index(dim)
        try:
            index.load_index(str(path))
        except _ENGINE_ERRORS as error:
            raise GraphError(f"hnswlib cannot open {path}: {error}") from error
        return HnswlibGraph(index)

    def _index(self, dim: int) -> Any:  # noqa: ANN401 - the package is untyped
        from hnswlib import Index

        return Index(space="cosine", dim=dim)


class HnswlibGraph:
    """A graph of hnswlib."""

    def __init__(self, index: Any) -> None:  # noqa: ANN401 - the package is untyped
        self.index = index
        self._lock = Lock()

    def add(self, numbers: RowNumbers, rows: Rows) -> None:
        self.index.add_items(rows.astype(np.float32), numbers)

    def save(self, path: Path) -> int:
        self.index.save_index(str(path))
        return int(self.index.index_file_size())

    def search(self, query: NDArray[np.float32], k: int, ef: int) -> RowNumbers:
        count = min(k, self.index.get_current_count())  # asking for more raises
        try:
            with self._lock:
                self.index.set_ef(max(ef, k))  # not kept in the file
                numbers, _ = self.index.knn_query(query, k=count, num_threads=1)
        except _ENGINE_ERRORS as error:
            raise GraphError(f"hnswlib gave up: {error}") from error
        found: RowNumbers = numbers[0].astype(np.int64)
        return found


_ENGINES: dict[str, Engine] = {"usearch": UsearchEngine(), "hnswlib": HnswlibEngine()}


@functools.cache
def engine_named(name: str) -> Engine:
    """The engine of that name, imported.

    Raises:
        StoreError: there is none of that name, or it is not installed.
    """
    if name not in _ENGINES:
        raise StoreError(f"no graph engine is called {name}", hint=f"there are {', '.join(_ENGINES)}")
    try:
        __import__(name)
    except ImportError as error:
        raise StoreError(
            f"the graph engine {name} is not installed", hint=f"pip install 'savecli[{name}]'"
        ) from error
    return _ENGINES[name]


def build(engine: str, rows: Rows, numbers: RowNumbers) -> Graph:
    """A graph over the rows of `rows` (M, D) that have these `numbers` (N,), ascending.

    Each block is an even sample of all rows. In order of time the rows of one scene come together and link to
    each other alone: of 900,000 rows a search then missed 2.5 %, however widely it looked.

    Raises:
        StoreError: the engine is not installed.
    """
    graph = engine_named(engine).create(rows.shape[1], len(numbers))
    n_blocks = -(-len(numbers) // _BLOCK_ROWS)
    for first in range(n_blocks):
        block = numbers[first::n_blocks]
        graph.add(block, rows[block])
    return graph
