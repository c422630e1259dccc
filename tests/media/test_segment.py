import itertools
import json
import math
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from savecli.datatypes import Segment
from savecli.media.segment import frame_times, sampled_frames, segments

LENGTHS = st.floats(min_value=5e-324, max_value=2e5, allow_nan=False)
WINDOWS = st.floats(min_value=0.5, max_value=100)


@given(LENGTHS, WINDOWS, st.floats(min_value=0, max_value=50))
def test_cover_without_gap_or_overlap(duration_s: float, window_s: float, stub_s: float) -> None:
    assume(duration_s / window_s < 5000)
    cut = segments(duration_s, window_s=window_s, stub_s=stub_s)
    assert cut[0].start_s == 0
    assert cut[-1].end_s == duration_s
    assert all(a.end_s == b.start_s for a, b in itertools.pairwise(cut))


@given(LENGTHS, WINDOWS, st.floats(min_value=0, max_value=50))
def test_lengths(duration_s: float, window_s: float, stub_s: float) -> None:
    assume(duration_s / window_s < 5000)
    cut = segments(duration_s, window_s=window_s, stub_s=stub_s)
    assert all(math.isclose(s.length_s, window_s, rel_tol=1e-9) for s in cut[:-1])
    stub_s = min(stub_s, window_s)
    assert cut[-1].length_s < (window_s + stub_s) * (1 + 1e-9) + 1e-9
    if len(cut) > 1:
        assert cut[-1].length_s >= stub_s


@given(st.floats(min_value=0, max_value=1e5), st.floats(min_value=1e-3, max_value=20), st.integers(1, 64))
def test_frame_times_lie_inside_and_increase(start_s: float, length_s: float, n_frames: int) -> None:
    segment = Segment(start_s=start_s, end_s=start_s + length_s)
    times = frame_times(segment, n_frames, window_s=12.0)
    assert len(times) == n_frames
    assert all(0 < t < segment.length_s for t in times)
    assert all(a < b for a, b in itertools.pairwise(times))


@pytest.mark.parametrize(
    ("duration_s", "bounds"),
    [
        (0, []),
        (0.04, [0, 0.04]),
        (12, [0, 12]),
        (14.99, [0, 14.99]),
        (15, [0, 12, 15]),
        (24, [0, 12, 24]),
        (26.9, [0, 12, 26.9]),
        (27, [0, 12, 24, 27]),
    ],
)
def test_bounds(duration_s: float, bounds: list[float]) -> None:
    assert [(s.start_s, s.end_s) for s in segments(duration_s)] == list(itertools.pairwise(bounds))


def test_one_frame_a_second() -> None:
    assert frame_times(Segment(start_s=12, end_s=24), 12, window_s=12) == tuple(i + 0.5 for i in range(12))


@pytest.mark.parametrize("duration_s", [-1, math.nan, math.inf])
def test_no_segments_of_nonsense(duration_s: float) -> None:
    with pytest.raises(ValueError, match="no segments"):
        segments(duration_s)


def test_golden_frames(parity: Path) -> None:
    facts = json.loads((parity / "frames.json").read_text("utf-8"))
    assert set(facts) == {"sampling", "linspace12", "linspace32", "note"}
    for case in facts["sampling"]:
        n_frames, fps = case["n_frames"], case["fps"]
        if case.get("error"):
            with pytest.raises(ValueError, match="a second"):
                sampled_frames(n_frames, fps, 12)
            continue
        taken = sampled_frames(n_frames, fps, case.get("max_frames", 12))
        assert list(taken) == case["taken"], case
        assert len(taken) == case["video_mask_ones"]
        candidates = sampled_frames(n_frames, fps, n_frames + 1)
        assert len(candidates) == case["n_candidates"]
        if "candidates" in case:
            assert list(candidates) == case["candidates"]
        else:
            first, last = case["candidates_first_last"]
            assert [list(candidates[: len(first)]), list(candidates[-len(last) :])] == [first, last]
    for n_wanted in (12, 32):
        for n_shown, positions in facts[f"linspace{n_wanted}"].items():
            assert list(sampled_frames(int(n_shown), 1.0, n_wanted)) == positions


def test_sampled_frames_twice_a_second() -> None:
    assert sampled_frames(100, 25.0, 99, per_s=2) == tuple(range(0, 100, 12))
    assert sampled_frames(60, 29.97, 99, per_s=2) == (0, 15, 30, 45)
    assert sampled_frames(3, 1.0, 99, per_s=2) == (0, 1, 2)
    assert len(sampled_frames(900, 30.0, 32, per_s=2)) == 32


@given(st.integers(-5, 10**6), st.floats(1, 1000), st.integers(1, 64))
def test_sampled_frames_are_spread_over_all(n_frames: int, fps: float, max_frames: int) -> None:
    taken = sampled_frames(n_frames, fps, max_frames)
    n_shown = len(range(0, n_frames, int(fps)))
    assert len(taken) == min(n_shown, max_frames)
    assert all(a < b for a, b in itertools.pairwise(taken))
    assert all(frame % int(fps) == 0 and 0 <= frame < n_frames for frame in taken)
    if len(taken) > 1:
        assert (taken[0], taken[-1]) == (0, (n_shown - 1) * int(fps))


@pytest.mark.parametrize(
    ("fps", "max_frames"), [(0.99, 12), (0, 12), (-1, 12), (math.nan, 12), (math.inf, 12), (25, 0)]
)
def test_no_frames_of_nonsense(fps: float, max_frames: int) -> None:
    with pytest.raises(ValueError, match="a second"):
        sampled_frames(100, fps, max_frames)
