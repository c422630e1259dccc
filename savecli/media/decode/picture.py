"""A decoded picture -> an upright square RGB image at the model's size."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from savecli.datatypes import RESAMPLERS

_LONGEST_SIDE = 16
"""In units of the shorter side: a ribbon of 8192x8 px would otherwise be scaled to hundreds of megabytes."""


class Scaler:
    """Scales the shorter side to `resize_px`, upright and with square pixels, and crops the centre.

    One instance for one stream: the scaler's tables are kept from picture to picture, and made again where
    the picture's size changes.

    Args:
        resize_px, size_px: of the shorter side, and of the crop.
        pixel_aspect: width over height of a stored pixel.
        resampler: "swscale" scales and converts in one step; "pillow" converts first and is four times as
            slow, for weights that were trained on its pictures. See `resized_crop`.

    Raises:
        ValueError: a crop larger than the picture, or another resampler.
    """

    def __init__(
        self, *, resize_px: int, size_px: int, pixel_aspect: Fraction | None, resampler: str = "swscale"
    ) -> None:
        if not 0 < size_px <= resize_px:
            raise ValueError(f"cannot crop {size_px} px out of {resize_px}")
        if resampler not in RESAMPLERS:
            raise ValueError(f"no such resampler: {resampler}")
        self._resize_px = resize_px
        self._size_px = size_px
        self._aspect = float(pixel_aspect) if pixel_aspect else 1.0
        self._resampler = resampler
        self._reformatter = VideoReformatter()

    def __call__(self, picture: VideoFrame) -> NDArray[np.uint8]:
        """(size_px, size_px, 3) uint8 RGB."""
        turns = round(picture.rotation / 90)
        if self._resampler == "pillow":
            stored = self._rgb(picture, picture.width, picture.height)
            return resized_crop(
                np.rot90(stored, turns),
                resize_px=self._resize_px,
                size_px=self._size_px,
                pixel_aspect=1 / self._aspect if turns % 2 else self._aspect,
            )
        width, height = self._scaled(picture.width, picture.height)
        top, left = (height - self._size_px) // 2, (width - self._size_px) // 2
        image = self._rgb(picture, width, height)[top : top + self._size_px, left : left + self._size_px]
        return np.ascontiguousarray(np.rot90(image, turns), dtype=np.uint8)

    def _rgb(self, picture: VideoFrame, width: int, height: int) -> NDArray[np.uint8]:
        scaled = self._reformatter.reformat(
            picture, width, height, "rgb24", interpolation=Interpolation.BICUBIC, threads=1
        )
        return np.asarray(scaled.to_ndarray(), np.uint8)

    def _scaled(self, width: int, height: int) -> tuple[int, int]:
        shown_width = width * self._aspect
        scale = self._resize_px / min(shown_width, height)
        longest = _LONGEST_SIDE * self._resize_px
        sides = (min(round(shown_width * scale), longest), min(round(height * scale), longest))
        return max(sides[0], self._resize_px), max(sides[1], self._resize_px)


def resized_crop(
    image: NDArray[np.uint8], *, resize_px: int, size_px: int, pixel_aspect: float = 1.0
) -> NDArray[np.uint8]:
    """Pillow's bicubic, which widens its kernel where it shrinks, and the crop of CLIP's own preprocessing.

    The longer side is rounded down; an odd rest beside the crop is halved to the even pixel; an image whose
    shorter side fits already is only cropped. SAVE's frames were made so (docs/save.md), but for pixels
    that are not square, which it leaves as they are stored, and for ribbons longer than 16 times their
    width, which are squeezed here as in the other way.

    Args:
        image: (H, W, 3) uint8 RGB, upright.
        resize_px: of the shorter side.
        size_px: of the crop, both ways.
        pixel_aspect: width over height of a pixel.

    Returns:
        (size_px, size_px, 3) uint8 RGB.
    """
    from PIL import Image  # not for those whose weights want the other resampler

    height, width = image.shape[0], image.shape[1] * pixel_aspect
    longer = min(int(resize_px * max(width, height) / min(width, height)), _LONGEST_SIDE * resize_px)
    sides = (resize_px, longer) if width <= height else (longer, resize_px)
    left, top = (round((side - size_px) / 2) for side in sides)
    resized = Image.fromarray(np.ascontiguousarray(image)).resize(sides, Image.Resampling.BICUBIC)
    return np.array(resized.crop((left, top, left + size_px, top + size_px)))
