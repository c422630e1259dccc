"""Do two spans really show the same? A few pictures of each, side by side.

Small grey pictures are correlated, so brightness, contrast and colour do not count, and neither does what an
encoder loses. A picture may lie between black bars, be a crop of the other, or its mirror image.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from savecli.dupes.align import Overlap
from savecli.errors import MediaError
from savecli.media.worker import Decoder

Grey = NDArray[np.float32]

N_CALM = 4
LEAST = 0.8
_NEAR = 0.3
_OFF_S = (-0.4, 0.4)
_FIELDS = 16
_PX = 128
_CROPS = ((1.0, 1.0), (0.9, 1.0), (0.8, 1.0), (1.0, 0.9), (1.0, 0.8))
_FLAT = 3.0
_BLACK = 24.0
_LEAST_SIDE = 0.3
_KEPT = 512


class Eye:
    """Compares pictures of files.

    Args:
        decoder: reads them.
    """

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._held: OrderedDict[tuple[Path, float], Grey | None] = OrderedDict()

    def likeness(self, first: Path, second: Path, overlap: Overlap) -> float | None:
        """0..1, of the pictures at the calm times; None where there is nothing to tell by.

        Pictures without any shape, as of a fade to black, tell nothing.
        """
        found = list(self.correlations(first, second, overlap))
        return max(0.0, float(np.median(found))) if found else None

    def is_still(self, path: Path, overlap: Overlap) -> bool:
        """Whether the first video's pictures at the calm times are all the same."""
        shown = [p for t in overlap.calm_s if (p := self._picture(path, t)) is not None]
        grids = [_grid(picture, 1.0) for picture in shown]
        return all(float(np.abs(grid - grids[0]).mean()) < _FLAT for grid in grids)

    def correlations(self, first: Path, second: Path, overlap: Overlap) -> Iterator[float]:
        """-1..1, of the pictures at each calm time that both have."""
        for time_s in overlap.calm_s:
            best = self._at(first, second, time_s, time_s - overlap.shift_s)
            # The shift is good to half a second: too little where the camera moves.
            if best is not None and _NEAR <= best < LEAST:
                again = [
                    self._at(first, second, time_s, time_s - overlap.shift_s + off_s) for off_s in _OFF_S
                ]
                best = max([best, *(found for found in again if found is not None)])
            if best is not None:
                yield best

    def _at(self, first: Path, second: Path, time_s: float, other_s: float) -> float | None:
        ours, theirs = self._picture(first, time_s), self._picture(second, other_s)
        return None if ours is None or theirs is None else correlation(ours, theirs)

    def _picture(self, path: Path, time_s: float) -> Grey | None:
        key = (path, round(time_s, 1))
        if key not in self._held:
            self._held[key] = self._decoded(path, time_s)
            if len(self._held) > _KEPT:
                self._held.popitem(last=False)
        return self._held[key]

    def _decoded(self, path: Path, time_s: float) -> Grey | None:
        try:
            shown = list(self._decoder.stills(path, (max(0.0, time_s),), width_px=_PX, height_px=_PX))
        except MediaError:
            return None
        return shown[0].image.mean(axis=2, dtype=np.float32) if shown else None


def correlation(ours: Grey, theirs: Grey) -> float | None:
    """-1..1, of two grey pictures (H, W) in 0..255 as they are most alike; None where one of them is flat."""
    found = []
    for one, other in product(_with_and_without_bars(ours), _with_and_without_bars(theirs)):
        for crop, other_crop in _CROPS:
            a, b = _grid(one, crop), _grid(other, other_crop)
            if a.std() < _FLAT or b.std() < _FLAT:
                continue
            a, b = (a - a.mean()) / a.std(), (b - b.mean()) / b.std()
            found += [float((a * b).mean()), float((a * b[:, ::-1]).mean())]
    return max(found) if found else None


def _with_and_without_bars(picture: Grey) -> list[Grey]:
    """The picture, and where it has black bars at its sides, what is between them."""
    height, width = picture.shape
    rows = np.nonzero(picture.max(axis=1) > _BLACK)[0]
    columns = np.nonzero(picture.max(axis=0) > _BLACK)[0]
    if not len(rows) or not len(columns):
        return [picture]
    inside = picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    large = inside.shape[0] >= _LEAST_SIDE * height and inside.shape[1] >= _LEAST_SIDE * width
    return [picture, inside] if large and inside.size < picture.size else [picture]


def _grid(picture: Grey, crop: float) -> Grey:
    """The means of 16 x 16 fields of a picture, or of its middle."""
    height, width = picture.shape
    rows = np.linspace((1 - crop) / 2 * height, (1 + crop) / 2 * height, _FIELDS + 1).round().astype(int)
    columns = np.linspace((1 - crop) / 2 * width, (1 + crop) / 2 * width, _FIELDS + 1).round().astype(int)
    sums = np.zeros((height + 1, width + 1))
    sums[1:, 1:] = picture.cumsum(axis=0, dtype=float).cumsum(axis=1)
    fields = np.diff(np.diff(sums[np.ix_(rows, columns)], axis=0), axis=1)
    sizes = np.diff(rows)[:, None] * np.diff(columns)[None]
    result: Grey = (fields / sizes.clip(1)).astype(np.float32)
    return result
