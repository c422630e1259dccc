"""The exact scan: every row against the query, with NumKong where it is installed and NumPy elsewhere."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from savecli.machine import n_cores
from savecli.store.vectors import Rows

_BLOCK_ROWS = 16_384
# A block takes a millisecond: less than two for a thread are not worth it, and memory keeps pace with four.
_BLOCKS_EACH, _MOST_THREADS = 2, 4
# The query in float16 alone is off by up to 5e-5. Its rounding error, scaled up to stay out of the
# subnormal numbers, goes through as a second query: the sum is as good as float32.
_ERROR_SCALE = np.float32(2048)
# How much longer than one a row of unit norm can be after rounding; what summing adds, measured 2e-7 at most.
_LENGTHENED, _SUMMING = 1.001, 1e-6


@functools.cache
def _numkong() -> ModuleType | None:
    """The SIMD kernels that usearch depends on, or None; imported with the first scan."""
    try:
        return importlib.import_module("numkong")
    except ImportError:
        return None


def scan(rows: Rows, query: NDArray[np.float32]) -> NDArray[np.float32]:
    """The cosine of each of `rows` (N, D) with `query` (D,), both of unit norm: (N,) float32."""
    kernels = _numkong()
    return _by_block(
        rows, _Blockwise(kernels, query) if kernels else functools.partial(_numpy_block, query=query)
    )


def scan_nearly(rows: Rows, query: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """`scan` in half the time: (N,) float32, and how far each may be off.

    The query is rounded to the rows' 16 bits; by Cauchy and Schwarz a cosine moves no further than the query.
    """
    kernels = _numkong()
    if kernels is None:
        return scan(rows, query), _SUMMING
    rounded = query.astype(np.float16)
    scores = _by_block(rows, lambda block: np.asarray(kernels.cdist(rounded[np.newaxis], block, "dot"))[0])
    error = float(np.linalg.norm(query - rounded.astype(np.float32)))
    return scores, _LENGTHENED * error + _SUMMING


def _by_block(rows: Rows, score: Callable[[Rows], NDArray[Any]]) -> NDArray[np.float32]:
    """(N,) float32, the scores of each block of rows; in several threads where there are many."""
    scores = np.empty(len(rows), dtype=np.float32)

    def look(start: int) -> None:
        scores[start : start + _BLOCK_ROWS] = score(rows[start : start + _BLOCK_ROWS])

    starts = range(0, len(rows), _BLOCK_ROWS)
    n_threads = min(n_cores(), _MOST_THREADS, len(starts) // _BLOCKS_EACH)
    if n_threads > 1:
        with ThreadPoolExecutor(n_threads) as threads:
            list(threads.map(look, starts))
    else:
        for start in starts:
            look(start)
    return scores


def scan_some(rows: Rows, numbers: NDArray[np.int64], query: NDArray[np.float32]) -> NDArray[np.float32]:
    """Like `scan`, for the rows with these `numbers` (N,), best ascending: (N,) float32."""
    scores = np.empty(len(numbers), dtype=np.float32)
    for start in range(0, len(numbers), _BLOCK_ROWS):
        gathered = rows[numbers[start : start + _BLOCK_ROWS]]
        scores[start : start + _BLOCK_ROWS] = scan(gathered, query)
    return scores


class _Blockwise:
    """NumKong over a block of rows, with the query as float16 and its rounding error."""

    def __init__(self, kernels: ModuleType, query: NDArray[np.float32]) -> None:
        self._kernels = kernels
        rounded = query.astype(np.float16)
        error = (query - rounded.astype(np.float32)) * _ERROR_SCALE
        self._queries = np.stack([rounded, error.astype(np.float16)])

    def __call__(self, block: Rows) -> NDArray[np.float32]:
        scores = np.asarray(self._kernels.cdist(self._queries, block, "dot"), dtype=np.float32)
        total: NDArray[np.float32] = scores[0] + scores[1] / _ERROR_SCALE
        return total


def _numpy_block(block: Rows, query: NDArray[np.float32]) -> NDArray[np.float32]:
    scores: NDArray[np.float32] = block.astype(np.float32) @ query
    return scores
