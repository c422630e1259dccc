"""An image file -> one picture, at the size that a model wants. Any format that Pillow reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from av.video.frame import VideoFrame

from savecli.errors import MediaError, NoPictureError
from savecli.media.decode.picture import Scaler
from savecli.media.decode.timeline import check_size
from savecli.media.footage import MAX_PIXELS, Frame, Tally
from savecli.media.signature import HEAD_BYTES, describe, kind_of

if TYPE_CHECKING:
    from PIL.Image import Image

_FEW = 4  # a JPEG is decoded at this many times the size that is wanted, or at its own


def photo(
    path: Path, *, resize_px: int, size_px: int, resampler: str = "swscale", tally: Tally | None = None
) -> Frame:
    """The picture in an image file, upright, as a frame of a video would come out; of several, the first.

    Raises:
        NoPictureError: it is no image of a known format.
        MediaError: it is damaged, or too large.
    """
    from PIL import ImageOps, UnidentifiedImageError
    from PIL.Image import DecompressionBombError
    from PIL.Image import open as opened

    tally = Tally() if tally is None else tally
    try:
        with opened(path) as image:
            check_size(*image.size, MAX_PIXELS)
            image.draft("RGB", (_FEW * resize_px, _FEW * resize_px))
            shown = np.asarray(_flat(ImageOps.exif_transpose(image)), np.uint8)
    except DecompressionBombError as error:
        raise MediaError(
            f"the picture is larger than the limit of {MAX_PIXELS / 1e6:.0f} megapixels",
            hint="Scale it down first.",
        ) from error
    except UnidentifiedImageError as error:
        raise NoPictureError(
            f"the content is {_what(path)}, not a picture that can be read",
            hint="JPEG, PNG, WebP, AVIF, GIF, TIFF and BMP are; a HEIC must be converted first.",
        ) from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # what Pillow raises on damage
        raise MediaError(f"the picture is damaged: {error}", hint="Does a viewer show it?") from error
    tally.n_decoded = 1
    scaler = Scaler(resize_px=resize_px, size_px=size_px, pixel_aspect=None, resampler=resampler)
    whole = VideoFrame.from_ndarray(np.ascontiguousarray(shown), format="rgb24")
    return Frame(index=0, time_s=0.0, image=scaler(whole))


def _flat(image: Image) -> Image:
    """RGB; what is transparent lies on white."""
    from PIL.Image import alpha_composite, new

    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = alpha_composite(new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _what(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    return "a video" if kind_of(head) else describe(head)
