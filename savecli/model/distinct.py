"""Pictures that show what the one before showed: a slide, a screen at rest. They are looked at once.

The rows of such pictures are alike to a cosine of .99999, so nothing is lost (docs/decisions.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK_PX = 8
LEAST_CHANGE = 1.0
"""Grey levels by which the mean of a block must differ in one colour: noise is far below that."""


def distinct(frames: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which pictures differ from the last one that did, and for each picture the place of its like there.

    Args:
        frames: (F, H, W, 3), F of 1 or more, in order of time, of 8 pixels a side at least; what is left of
            whole blocks is not compared.

    Returns:
        (N,) ascending from 0, and (F,) numbers of 0..N-1.
    """
    sums = _block_sums(frames)
    shown, like = [0], [0]
    for number in range(1, len(frames)):
        change = np.abs(sums[number] - sums[shown[-1]]).max(initial=0)
        if change >= LEAST_CHANGE * BLOCK_PX**2:
            shown.append(number)
        like.append(len(shown) - 1)
    return np.array(shown), np.array(like)


def _block_sums(frames: NDArray[np.uint8]) -> NDArray[np.int32]:
    """(F, H // 8, W // 8, 3)."""
    n, height, width, _ = frames.shape
    rows, columns = height // BLOCK_PX, width // BLOCK_PX
    whole = frames[:, : rows * BLOCK_PX, : columns * BLOCK_PX]
    # One axis after the other, in 16 bits: an eighth of the time of both at once.
    down = whole.reshape(n, rows, BLOCK_PX, -1).sum(axis=2, dtype=np.uint16)
    across = down.reshape(n, rows, columns, BLOCK_PX, 3).sum(axis=3, dtype=np.uint16)
    sums: NDArray[np.int32] = across.astype(np.int32)
    return sums
