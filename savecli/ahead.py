"""Calls made ahead by a pool of threads, while the caller prepares the next; what comes of them, in order."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from functools import partial
from typing import Generic, Self, TypeVar

Key = TypeVar("Key")
Result = TypeVar("Result")
_Made = tuple[Result, float]

MOST_AHEAD = 3
"""Calls of one caller that run or wait beside the next: no decoder keeps more threads busy."""


class Ahead(Generic[Key, Result]):
    """Hands the calls of one thread to a pool; after a `with`, none is begun any more.

    Args:
        pool: makes the calls; where it is None, each is made when its result is taken.

    Attributes:
        spent_s: seconds that the calls took whose results were taken, each from its start to its end.
    """

    def __init__(self, pool: Executor | None) -> None:
        self._pool = pool
        self._out: deque[tuple[Key, Future[_Made[Result]] | Callable[[], _Made[Result]]]] = deque()
        self.spent_s = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for _, call in self._out:
            if isinstance(call, Future):
                call.cancel()

    def give(self, key: Key, call: Callable[[], Result]) -> None:
        """Have a call made; read `taken` before the next."""
        timed = partial(_timed, call)
        self._out.append((key, self._pool.submit(timed) if self._pool else timed))

    def taken(self, *, rest: bool = False) -> Iterator[tuple[Key, Result]]:
        """What the oldest calls made, or what they raised, until few are left; until none is, with `rest`."""
        most = MOST_AHEAD if self._pool and not rest else 0
        while len(self._out) > most:
            key, call = self._out.popleft()
            result, took_s = call.result() if isinstance(call, Future) else call()
            self.spent_s += took_s
            yield key, result


def _timed(call: Callable[[], Result]) -> _Made[Result]:
    start = time.perf_counter()
    return call(), time.perf_counter() - start
