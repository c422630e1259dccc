"""A decoded picture -> an upright square RGB image at the model's size."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

_LONGEST_SIDE = 16
"""In units of the shorter side: a ribbon of 8192x8 px would otherwise be scaled to hundreds of megabytes."""


class Scaler:
    """Scales the shorter side to `resize_px` by libswscale's bicubic and crops the centre.

    One instance for one stream: the scaler's tables are kept from picture to picture, and made again where
    the picture's size changes.
    """

    def __init__(self, *, resize_px: int, size_px: int, pixel_aspect: Fraction | None) -> None:
        if not 0 < size_px <= resize_px:
            raise ValueError(f"cannot crop {size_px} px out of {resize_px}")
        self._resize_px = resize_px
        self._size_px = size_px
        self._aspect = float(pixel_aspect) if pixel_aspect else 1.0
        self._reformatter = VideoReformatter()

    def __call__(self, picture: VideoFrame) -> NDArray[np.uint8]:
        """(size_px, size_px, 3) uint8 RGB."""
        width, height = self._scaled(picture.width, picture.height)
        scaled = self._reformatter.reformat(
            picture, width, height, "rgb24", interpolation=Interpolation.BICUBIC, threads=1
        )
        top, left = (height - self._size_px) // 2, (width - self._size_px) // 2
        image = scaled.to_ndarray()[top : top + self._size_px, left : left + self._size_px]
        return np.ascontiguousarray(np.rot90(image, round(picture.rotation / 90)), dtype=np.uint8)

    def _scaled(self, width: int, height: int) -> tuple[int, int]:
        shown_width = width * self._aspect
        scale = self._resize_px / min(shown_width, height)
        longest = _LONGEST_SIDE * self._resize_px
        sides = (min(round(shown_width * scale), longest), min(round(height * scale), longest))
        return max(sides[0], self._resize_px), max(sides[1], self._resize_px)
