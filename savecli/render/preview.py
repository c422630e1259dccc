"""Pictures in the terminal.

As the terminal's own graphics (kitty, sixel) where it has them and textual-image is installed; else as half
blocks, whose upper and lower halves are two pixels.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from rich.color import Color
from rich.console import Console
from rich.segment import Segment, Segments
from rich.style import Style

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WIDTH_PX, HEIGHT_PX = 320, 180
"""Of the pictures to give here, at most."""
_COLUMNS, _ROWS = 32, 9
_INDENT = 4
_NARROWEST = 8


def can_show(console: Console) -> bool:
    """Whether pictures would be seen: on a terminal with colours, wide enough."""
    return (
        console.is_terminal
        and not console.is_dumb_terminal
        and console.color_system is not None
        and not console.no_color
        and console.width >= _INDENT + _NARROWEST
    )


def show_picture(console: Console, image: NDArray[np.uint8]) -> None:
    """One picture, (H, W, 3) uint8 RGB with even sides, some ten rows high at most."""
    columns = min(_COLUMNS, console.width - _INDENT)
    scale = min(columns / image.shape[1], 2 * _ROWS / image.shape[0], 1)
    graphics = _graphics()
    if graphics is None:
        width, height = max(1, round(image.shape[1] * scale)), max(2, 2 * round(image.shape[0] * scale / 2))
        console.print(_blocks(_shrunk(image, width, height)), end="")
        return
    from savecli.media.encode import to_jpeg

    console.print(graphics(io.BytesIO(to_jpeg(image)), width=max(1, round(image.shape[1] * scale))))


@cache
def _graphics() -> Callable[..., Any] | None:
    """What draws with the terminal's own graphics; None where there is none.

    Asking costs a tenth of a second, and reads the terminal's answer from standard input.
    """
    if not (sys.__stdin__ and sys.__stdin__.isatty() and sys.__stdout__ and sys.__stdout__.isatty()):
        return None
    try:
        from textual_image import renderable
    except (ImportError, OSError, ValueError):
        return None
    graphic = renderable.Image in (renderable.TGPImage, renderable.SixelImage)
    return renderable.Image if graphic else None


def _shrunk(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """The mean colour of each part of a picture."""
    import numpy as np

    rows = np.linspace(0, image.shape[0], height + 1).astype(int)[:-1]
    columns = np.linspace(0, image.shape[1], width + 1).astype(int)[:-1]
    sums = np.add.reduceat(np.add.reduceat(image.astype(np.float64), rows, axis=0), columns, axis=1)
    sizes = np.outer(np.diff([*rows, image.shape[0]]), np.diff([*columns, image.shape[1]]))
    return np.asarray(np.rint(sums / sizes[..., None]), np.uint8)


def _blocks(pixels: NDArray[np.uint8]) -> Segments:
    segments = []
    for upper, lower in zip(pixels[::2].tolist(), pixels[1::2].tolist(), strict=True):
        segments.append(Segment(" " * _INDENT))
        segments += [
            Segment("▀", Style(color=Color.from_rgb(*top), bgcolor=Color.from_rgb(*bottom)))
            for top, bottom in zip(upper, lower, strict=True)
        ]
        segments.append(Segment.line())
    return Segments(segments)
