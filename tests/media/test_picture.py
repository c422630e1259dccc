"""The pillow way gives the reference's pixels; both ways keep pictures upright and pixels square."""

import json
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from savecli.datatypes import RESAMPLERS, MediaSpec
from savecli.media.decode import frames, probe
from savecli.media.decode.picture import Scaler, resized_crop

SIZES = {"resize_px": 64, "size_px": 56}


def golden_picture(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width].astype(float)
    red = 127.5 + 100 * np.sin(2 * np.pi * (x / 37 + y / 91))
    green = 255 * ((x // 16 + y // 16) % 2)
    blue = 255 * (x + y) / (width + height - 2)
    return np.clip(np.floor(np.stack([red, green, blue], -1) + 0.5), 0, 255).astype(np.uint8)


def test_golden_pictures(parity: Path) -> None:
    facts = json.loads((parity / "image.json").read_text("utf-8"))
    with np.load(parity / "image.npz") as arrays:
        assert {f"{case['h']}x{case['w']}.crop_u8" for case in facts} == set(arrays)
        for case in facts:
            image = golden_picture(case["h"], case["w"])
            assert image.sum() == case["src_sum"]
            crop = resized_crop(image, resize_px=224, size_px=224)
            expected = arrays[f"{case['h']}x{case['w']}.crop_u8"].astype(int)
            assert np.abs(crop - expected).max() <= 1, case
            assert crop.sum() == pytest.approx(case["crop_sum"], abs=2000)
            scaler = Scaler(resize_px=224, size_px=224, pixel_aspect=None, resampler="pillow")
            assert np.array_equal(scaler(av.VideoFrame.from_ndarray(image)), crop)


def test_what_fits_is_only_cropped() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 99, 3), np.uint8)
    # 35 columns are too many: 17.5 to the left, which is 18; of 33, 16.5 is 16.
    assert np.array_equal(resized_crop(image, resize_px=64, size_px=64), image[:, 18:82])
    assert np.array_equal(resized_crop(image[:, :97], resize_px=64, size_px=64), image[:, 16:80])


@pytest.mark.parametrize("resampler", RESAMPLERS)
def test_square_pixels(resampler: str) -> None:
    stored = golden_picture(480, 720)
    stretched = golden_picture(480, 720).repeat(2, axis=1)
    wide, plain = (
        Scaler(**SIZES, pixel_aspect=aspect, resampler=resampler)(av.VideoFrame.from_ndarray(image))
        for aspect, image in ((Fraction(2), stored), (None, stretched))
    )
    assert np.abs(wide.astype(int) - plain).mean() < 2


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_pixels_turn_with_the_picture(turns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = golden_picture(480, 720)
    monkeypatch.setattr(Scaler, "_rgb", lambda *_: stored)
    turned = SimpleNamespace(width=720, height=480, rotation=90 * turns)
    shown = Scaler(**SIZES, pixel_aspect=Fraction(2), resampler="pillow")(turned)
    upright = resized_crop(np.rot90(stored.repeat(2, axis=1), turns), **SIZES)
    assert np.abs(shown.astype(int) - upright).mean() < 2


@pytest.mark.parametrize("name", ["s06.mp4", "s30.mp4"])
def test_the_two_ways_see_the_same(shared_media: Path, name: str) -> None:
    timeline = probe(shared_media / name)
    [[scaled], [resized]] = ([*frames(timeline, [0.0], **SIZES, resampler=way)] for way in RESAMPLERS)
    apart, upside_down = (
        np.abs(np.rot90(scaled.image, turns).astype(int) - resized.image).mean() for turns in (0, 2)
    )
    assert 0 < apart < upside_down / 3


@pytest.mark.parametrize("size", [(16, 640), (640, 16)])
def test_ribbons(size: tuple[int, int]) -> None:
    assert resized_crop(golden_picture(*size), **SIZES).shape == (56, 56, 3)


def test_unknown_resamplers() -> None:
    with pytest.raises(ValueError, match="no such resampler: lanczos"):
        Scaler(**SIZES, pixel_aspect=None, resampler="lanczos")
    with pytest.raises(ValueError, match="no such resampler: lanczos"):
        MediaSpec(resampler="lanczos")
    assert MediaSpec().resampler == "swscale"
