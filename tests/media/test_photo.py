"""Image files, in and out of shape."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from savecli.errors import MediaError, NoPictureError
from savecli.media.decode import photo
from savecli.media.encode import write_video

SIZE = {"resize_px": 32, "size_px": 24}


def halves(height: int = 60, width: int = 80) -> np.ndarray:
    """Red above, blue below."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2], image[height // 2 :] = (240, 10, 10), (10, 10, 240)
    return image


def whole_one(folder: Path) -> Path:
    Image.fromarray(halves()).save(folder / "whole.png")
    return folder / "whole.png"


def top_and_bottom(image: np.ndarray) -> tuple[str, str]:
    return tuple("red" if part.mean(axis=(0, 1))[0] > 120 else "blue" for part in (image[:8], image[-8:]))


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif", "tiff", "bmp", "avif"])
def test_every_common_format_comes_out_as_a_frame_would(tmp_path, decoder, suffix):
    path = tmp_path / f"picture.{suffix}"
    Image.fromarray(halves()).save(path)
    frame = decoder.photo(path, **SIZE)
    assert (frame.index, frame.time_s) == (0, 0)
    assert frame.image.shape == (24, 24, 3)
    assert frame.image.dtype == np.uint8
    assert top_and_bottom(frame.image) == ("red", "blue")


def test_it_is_set_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    Image.fromarray(halves()).save(tmp_path / "turned.jpg", exif=exif)
    assert top_and_bottom(photo(tmp_path / "turned.jpg", **SIZE).image) == ("blue", "red")


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "I;16"])
def test_any_kind_of_pixel_will_do(tmp_path, mode):
    path = tmp_path / "grey.tiff"
    Image.fromarray(halves()).convert("L" if mode == "I;16" else mode).save(path)
    assert photo(path, **SIZE).image.shape == (24, 24, 3)


def test_what_is_transparent_lies_on_white(tmp_path):
    clear = np.zeros((40, 40, 4), np.uint8)
    Image.fromarray(clear).save(tmp_path / "clear.png")
    assert photo(tmp_path / "clear.png", **SIZE).image.min() > 250


def test_a_ribbon_and_a_dot_are_pictures(tmp_path):
    for width, height in ((4000, 2), (1, 1)):
        Image.fromarray(np.full((height, width, 3), 90, np.uint8)).save(tmp_path / "odd.png")
        assert photo(tmp_path / "odd.png", **SIZE).image.shape == (24, 24, 3)


def test_a_video_sound_and_text_are_no_pictures(tmp_path, decoder):
    write_video(tmp_path / "film.mp4", [halves()] * 5, fps=5)
    (tmp_path / "note.png").write_text("no picture at all")
    for name, what in (("film.mp4", "a video"), ("note.png", "plain text")):
        with pytest.raises(NoPictureError, match=what):
            decoder.photo(tmp_path / name, **SIZE)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif", "tiff", "avif"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_half_a_file_is_a_word_and_no_crash(tmp_path, decoder, suffix, share):
    path = tmp_path / f"broken.{suffix}"
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with suppress(MediaError):  # some formats give what is there
        assert decoder.photo(path, **SIZE).image.shape == (24, 24, 3)
    assert decoder.photo(whole_one(tmp_path), **SIZE).image.shape == (24, 24, 3), "the decoder goes on"


def test_a_picture_that_would_fill_the_memory_is_refused(tmp_path):
    Image.new("1", (30_000, 30_000)).save(tmp_path / "bomb.png")
    with pytest.raises(MediaError, match="megapixels"):
        photo(tmp_path / "bomb.png", **SIZE)
