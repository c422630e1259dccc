"""How many pictures a network reads in one run: half as many from then on where memory does not suffice."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from savecli.errors import SaveError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.float32]

SIGNS = ("out of memory", "bad alloc", "bad_alloc", "failed to allocate memory", "can't allocate memory")
"""What torch (CPU, CUDA, MPS) and ONNX Runtime say, whose errors have no kind of their own for it."""


class Batches:
    """Runs over pictures, some at a time; several threads may ask.

    Args:
        most: pictures in one run, to begin with.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._untold: list[str] = []
        self._lock = Lock()

    def run(self, work: Callable[[NDArray[Any]], tuple[Rows, ...]], items: NDArray[Any]) -> tuple[Rows, ...]:
        """What `work` makes of all N items, N of 1 or more; each of its arrays has a row for each item.

        Raises:
            SaveError: there is not memory for a single one.
        """
        parts: list[tuple[Rows, ...]] = []
        at = 0
        while at < len(items):
            some = items[at : at + self.most]
            try:
                parts.append(work(some))
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                self._halve(len(some))
            else:
                at += len(some)
        return tuple(np.concatenate(rows) for rows in zip(*parts, strict=True))

    def notes(self) -> tuple[str, ...]:
        """What there is to tell since the last call: each retreat is told once."""
        with self._lock:
            told, self._untold = tuple(self._untold), []
        return told

    def _halve(self, n_failed: int) -> None:
        if n_failed == 1:
            raise SaveError(
                "there is not enough memory to look at a single picture",
                hint="close other programs, or give fewer --jobs, or --device cpu",
            )
        with self._lock:
            if self.most < n_failed:
                return  # another thread has drawn the lesson meanwhile
            self.most = n_failed // 2
            self._untold.append(
                f"too little memory to look at {n_failed} pictures at a time: {self.most} from here on"
            )


def is_out_of_memory(error: Exception) -> bool:
    """Whether it failed for memory, in whatever library."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return any(sign in str(error).lower() for sign in SIGNS)
