"""Shifts and spans, from rows whose truth is known: a walk through random scenes."""

from __future__ import annotations

import numpy as np
import pytest

from savecli.dupes.align import Track, overlaps

DIM = 384


def scenes(seed: int, length_s: float, *, scene_s: float = 5.0) -> np.ndarray:
    """One row for each tenth of a second: every few seconds a scene that resembles no other."""
    rng = np.random.default_rng(seed)
    n = int(length_s / scene_s) + 2
    rows = rng.standard_normal((n, DIM))[(np.arange(int(length_s * 10)) / (10 * scene_s)).astype(int)]
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def track(shown: np.ndarray, *, every_s: float = 1.0, noise: float = 0.0, seed: int = 0) -> Track:
    times_s = np.arange(every_s / 2, len(shown) / 10, every_s)
    rows = shown[(times_s * 10).astype(int)]
    rows = rows + noise * np.random.default_rng(seed).standard_normal(rows.shape) / np.sqrt(DIM)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return Track(rows=rows.astype(np.float32), times_s=times_s, duration_s=len(shown) / 10)


def found(first: Track, second: Track, hints=((0.0, 0.0),), least_s: float = 3.0):
    return overlaps(first, second, hints, least_s=least_s, n_calm=4)


def test_a_later_start_is_a_shift_and_the_rest_overlaps():
    shown = scenes(1, 60)
    (one,) = found(track(shown), track(shown[173:], seed=5, noise=0.5), [(24.0, 12.0)])
    assert one.shift_s == pytest.approx(17.3, abs=0.75)
    assert one.start_s == pytest.approx(17.3, abs=0.75)
    assert one.end_s == pytest.approx(60, abs=0.75)
    assert one.likeness > 0.7


def test_a_part_of_a_longer_video_is_found_where_it_is():
    shown = scenes(2, 120)
    long, short = track(shown), track(shown[400:650])
    (one,) = found(long, short, [(36.0, 0.0)])
    assert (one.start_s, one.end_s) == pytest.approx((40, 65), abs=0.6)
    (other,) = found(short, long, [(0.0, 36.0)])
    assert (other.start_s, other.end_s) == pytest.approx((0, 25), abs=0.6)
    assert other.shift_s == pytest.approx(-40, abs=0.5)


def test_two_scenes_that_change_places_are_two_overlaps():
    a, b, c = scenes(3, 20), scenes(4, 20), scenes(5, 20)
    first = track(np.concatenate([a, b, c]))
    second = track(np.concatenate([c, scenes(6, 20), a]))
    spans = [(o.start_s, o.end_s, o.shift_s) for o in found(first, second, [(0.0, 40.0), (40.0, 0.0)])]
    assert np.array(spans) == pytest.approx(np.array([(0, 20, -40), (40, 60, 40)]), abs=0.6)


def test_videos_that_share_nothing_have_no_overlap():
    assert found(track(scenes(7, 40)), track(scenes(8, 40)), [(0.0, 0.0), (12.0, 24.0)]) == []


def test_a_shared_scene_must_be_long_enough_unless_it_is_all_of_a_video():
    shown = scenes(9, 60, scene_s=2)
    other = np.concatenate([scenes(10, 20), shown[200:220], scenes(11, 20)])
    assert found(track(shown), track(other), [(12.0, 12.0)]) == []
    assert len(found(track(shown), track(other), [(12.0, 12.0)], least_s=1.5)) == 1
    (whole,) = found(track(shown), track(shown[200:220], every_s=0.25), [(12.0, 0.0)])
    assert (whole.start_s, whole.end_s) == pytest.approx((20, 22), abs=0.5)


def test_pictures_taken_at_another_pace_are_compared_by_their_times():
    shown = scenes(12, 30)
    (one,) = found(track(shown, every_s=1.0), track(shown, every_s=0.3))
    assert one.shift_s == pytest.approx(0, abs=0.5)
    assert (one.start_s, one.end_s) == pytest.approx((0, 30), abs=0.3)


def test_where_nothing_moves_both_start_together():
    still = np.repeat(scenes(13, 1)[:1], 300, axis=0)
    (one,) = found(track(still), track(still[:200]), [(0.0, 0.0), (12.0, 0.0), (0.0, 12.0)])
    assert one.shift_s == pytest.approx(0, abs=0.5)
    assert (one.start_s, one.end_s) == pytest.approx((0, 20), abs=0.5)


def test_calm_times_lie_inside_and_away_from_cuts():
    shown = scenes(14, 40, scene_s=10)
    (one,) = found(track(shown), track(shown))
    assert len(one.calm_s) == 4
    assert all(one.start_s <= time_s < one.end_s for time_s in one.calm_s)
    assert all(abs(time_s - cut_s) > 0.9 for time_s in one.calm_s for cut_s in (10, 20, 30))
