"""Pictures in the terminal show what they are given, and only where a terminal can show them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console

from savecli.render import preview


def console(width=80, **options):
    return Console(
        file=io.StringIO(), width=width, **{"force_terminal": True, "color_system": "truecolor", **options}
    )


def seen(screen):
    """The two pixels of each half block, by row, as (rows, columns, 2, 3)."""
    rows = []
    for row in screen.file.getvalue().split("\n")[:-1]:
        assert row.startswith("    ")
        codes = [part.rpartition("m")[0].split("\x1b[")[-1] for part in row.split("▀")[:-1]]
        rows.append([[list(map(int, code.split(";")[i : i + 3])) for i in (2, 7)] for code in codes])
    return np.array(rows)


@pytest.mark.parametrize(("width", "size"), [(80, (9, 32)), (20, (4, 16))])
def test_a_picture_is_made_of_half_blocks(width, size):
    image = np.zeros((180, 320, 3), np.uint8)
    image[:90, :, 0] = 200  # red above
    image[90:, :160, 2] = 100  # blue below, on the left
    screen = console(width)
    preview.show_picture(screen, image)
    pixels = seen(screen)
    assert pixels.shape[:2] == size
    columns = size[1]
    assert pixels[0, 0].tolist() == [[200, 0, 0]] * 2
    assert pixels[-1, 0, 1].tolist() == [0, 0, 100]
    assert pixels[-1, columns - 1, 1].tolist() == [0, 0, 0]


def test_a_tall_picture_is_no_taller_than_a_wide_one():
    screen = console()
    preview.show_picture(screen, np.full((180, 102, 3), 7, np.uint8))
    assert seen(screen).shape == (9, 10, 2, 3)


def test_small_pictures_stay_small():
    screen = console()
    preview.show_picture(screen, np.full((2, 4, 3), 7, np.uint8))
    assert seen(screen).shape == (1, 4, 2, 3)
    assert (seen(screen) == 7).all()


@pytest.mark.parametrize(
    ("options", "can"),
    [
        ({}, True),
        ({"force_terminal": False}, False),
        ({"color_system": None}, False),
        ({"no_color": True}, False),
        ({"width": 11}, False),
        ({"width": 20}, True),
    ],
)
def test_where_pictures_can_be_seen(options, can):
    assert preview.can_show(console(**options)) == can
