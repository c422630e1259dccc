"""What the eye takes for the same picture, and what not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from savecli.dupes.align import Overlap
from savecli.dupes.look import LEAST, Eye, correlation
from savecli.media.encode import write_video


def picture(seed: int, height: int = 96, width: int = 128) -> np.ndarray:
    """Soft shapes in grey, 40..220."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / height
    waves = sum(
        np.sin(2 * np.pi * (rng.uniform(0.5, 3) * x + rng.uniform(0.5, 3) * y) + rng.uniform(0, 6))
        for _ in range(4)
    )
    return (130 + 22 * waves).astype(np.float32).clip(40, 220)


def padded(image: np.ndarray, above: int, beside: int) -> np.ndarray:
    return np.pad(image, ((above, above), (beside, beside)), constant_values=0)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(picture(1) * 0.6 + 60, id="brighter and flatter"),
        pytest.param(picture(1) + np.random.default_rng(0).normal(0, 15, (96, 128)), id="noisy"),
        pytest.param(picture(1)[::2, ::2], id="smaller"),
        pytest.param(picture(1)[10:-10, 13:-13], id="cropped"),
        pytest.param(picture(1)[:, ::-1], id="mirrored"),
        pytest.param(padded(picture(1), 0, 30), id="between bars"),
        pytest.param(padded(picture(1)[10:-10, 13:-13], 20, 0), id="cropped, between bars"),
    ],
)
def test_the_same_picture_in_another_form(other):
    assert correlation(picture(1), other.astype(np.float32)) > LEAST
    assert correlation(other.astype(np.float32), picture(1)) > LEAST


@pytest.mark.parametrize("seed", range(2, 12))
def test_another_picture_is_another(seed):
    assert correlation(picture(1), picture(seed)) < LEAST


def test_a_picture_without_shape_tells_nothing():
    assert correlation(picture(1), np.full((96, 128), 90, np.float32)) is None


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Four pictures in ten seconds; the same a second later and smaller; four others; one alone."""
    folder = tmp_path_factory.mktemp("films")

    def write(name: str, grey: list[np.ndarray]) -> Path:
        frames = [np.repeat(image.astype(np.uint8)[..., None], 3, axis=2) for image in grey]
        write_video(folder / name, frames, fps=10)
        return folder / name

    shown = [picture(seed) for seed in (1, 2, 3, 4) for _ in range(25)]
    return {
        "one": write("one.mp4", shown),
        "late": write("late.mp4", [image[::2, ::2] for image in shown[10:]]),
        "other": write("other.mp4", [picture(seed) for seed in (5, 6, 7, 8) for _ in range(25)]),
        "still": write("still.mp4", [picture(1)] * 100),
    }


def overlap(shift_s: float, calm_s=(1.2, 3.7, 6.2, 8.7)) -> Overlap:
    return Overlap(start_s=max(0, shift_s), end_s=10, shift_s=shift_s, likeness=0.5, calm_s=calm_s)


def test_files_are_compared_at_the_calm_times_of_each(films, decoder):
    eye = Eye(decoder)
    assert eye.likeness(films["one"], films["late"], overlap(1.0)) > 0.95
    assert eye.likeness(films["one"], films["other"], overlap(0.0)) < LEAST
    assert eye.likeness(films["one"], films["late"], overlap(4.0)) < LEAST, "the shift matters"


def test_a_file_that_is_gone_or_broken_tells_nothing(films, decoder, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"\0" * 5000)
    for path in (tmp_path / "gone.mp4", broken):
        assert Eye(decoder).likeness(films["one"], path, overlap(0.0)) is None


def test_what_does_not_move_is_still(films, decoder):
    eye = Eye(decoder)
    assert eye.is_still(films["still"], overlap(0.0))
    assert not eye.is_still(films["one"], overlap(0.0))
