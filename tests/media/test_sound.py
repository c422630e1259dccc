"""Which samples reach which segment, whatever blocks they come in."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from savecli.datatypes import Segment, WaveformBlock
from savecli.media.segment import segments
from savecli.media.sound import SILENT_PEAK, Cutter

RATE_HZ = 100
SPANS = segments(24.0, window_s=8.0)


def block(start_s, *values):
    """One sample for each value, or the samples themselves."""
    return WaveformBlock(start_s=start_s, waveform=np.array(values, np.float32))


def tone(start_s, end_s, value=0.5):
    return block(start_s, *[value] * round((end_s - start_s) * RATE_HZ))


def cut(*blocks, spans=SPANS):
    cutter = Cutter(spans, RATE_HZ)
    found = [heard for one in blocks for heard in cutter.add(one)]
    return dict([*found, *cutter.finish()])


def test_a_block_that_straddles_segments_is_cut_at_their_bounds():
    ramp = np.arange(1, 2401, dtype=np.float32) / 2400
    heard = cut(WaveformBlock(start_s=0.0, waveform=ramp))
    assert list(heard) == [0, 1, 2]
    np.testing.assert_array_equal(np.concatenate(list(heard.values())), ramp)


def test_a_segment_is_over_with_the_first_sample_behind_it():
    cutter = Cutter(SPANS, RATE_HZ)
    assert list(cutter.add(tone(0, 8))) == []
    (heard,) = cutter.add(tone(8, 8.01))
    assert (heard.number, len(heard.waveform)) == (0, 800)


def test_gaps_are_silence_and_times_stay_true():
    heard = cut(tone(0, 1), tone(3, 4))
    expected = np.repeat(np.array([0.5, 0, 0.5], np.float32), [100, 200, 100])
    np.testing.assert_array_equal(heard[0], expected)
    assert list(heard) == [0]


def test_a_gap_over_whole_segments_leaves_them_without_sound():
    heard = cut(tone(0, 4), tone(17, 20))
    assert list(heard) == [0, 2]
    assert len(heard[0]) == 400, "up to its last sample"
    np.testing.assert_array_equal(heard[2], np.repeat(np.array([0, 0.5], np.float32), [100, 300]))


def test_sound_that_starts_late_keeps_its_place():
    heard = cut(tone(9.5, 12))
    assert list(heard) == [1]
    assert np.flatnonzero(heard[1])[0] == 150
    assert len(heard[1]) == 400


def test_of_two_sounds_at_one_moment_the_first_stays():
    heard = cut(tone(0, 2, 0.5), tone(1, 3, 0.7), tone(0, 1, 0.9))
    np.testing.assert_array_equal(heard[0], np.repeat(np.array([0.5, 0.7], np.float32), [200, 100]))


def test_what_comes_late_for_a_segment_that_is_over_is_left_out():
    heard = cut(tone(0, 9, 0.5), tone(6, 10, 0.7))
    np.testing.assert_array_equal(heard[1], np.repeat(np.array([0.5, 0.7], np.float32), [100, 100]))


def test_sound_behind_the_last_segment_is_left_out():
    heard = cut(tone(20, 40))
    assert {number: len(waveform) for number, waveform in heard.items()} == {2: 800}


@pytest.mark.parametrize("blocks", [(), (block(0.0),), (tone(30, 31),)])
def test_no_sound_in_any_segment(blocks):
    assert cut(*blocks) == {}


def test_no_segments():
    assert cut(tone(0, 3), spans=()) == {}


@pytest.mark.parametrize(
    ("sound", "n_heard"),
    [
        (tone(0, 3, SILENT_PEAK / 2), 0),
        (tone(0, 3, SILENT_PEAK * 2), 1),
        (tone(0, 3, -SILENT_PEAK * 2), 1),
        (tone(0, 0.4), 0),
        (tone(0, 0.5), 1),
        (tone(7.6, 8.4), 0),  # too little on both sides
    ],
)
def test_silence_and_scraps_are_no_sound(sound, n_heard):
    assert len(cut(sound)) == n_heard


def test_memory_is_that_of_one_segment():
    cutter = Cutter([Segment(start_s=8.0 * i, end_s=8.0 * i + 8) for i in range(1000)], RATE_HZ)
    for i in range(0, 7000, 7):
        for heard in cutter.add(tone(i, i + 7)):
            assert len(heard.waveform) == 800
        assert cutter._held.nbytes <= 800 * 4


@settings(max_examples=60, deadline=None)
@given(
    duration_s=st.floats(1, 40),
    bounds=st.lists(st.integers(0, 4000), max_size=12, unique=True).map(sorted),
)
def test_no_sample_is_lost_or_doubled(duration_s, bounds):
    n = round(duration_s * RATE_HZ)
    sound = np.linspace(0.1, 1, n, dtype=np.float32)
    edges = [0, *[b for b in bounds if 0 < b < n], n]
    blocks = [WaveformBlock(start_s=a / RATE_HZ, waveform=sound[a:b]) for a, b in pairwise(edges)]
    heard = cut(*blocks, spans=segments(duration_s, window_s=8.0))
    np.testing.assert_array_equal(np.concatenate(list(heard.values())), sound)
