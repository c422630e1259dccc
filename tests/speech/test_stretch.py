from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from savecli.datatypes import WaveformBlock
from savecli.speech.stretch import MAX_STRETCH_S, gather, quietest_cut

RATE_HZ = 16_000


def counting_blocks(lengths_s: list[float], gaps_s: list[float]) -> list[WaveformBlock]:
    """Blocks whose samples are all different, so that a lost or doubled one shows."""
    n_samples = [round(length_s * RATE_HZ) for length_s in lengths_s]
    ramp = np.arange(1, sum(n_samples) + 1, dtype=np.float32) / 2**24
    made, start_s, first = [], 0.0, 0
    for n, gap_s in zip(n_samples, gaps_s, strict=True):
        start_s += gap_s
        made.append(WaveformBlock(start_s=start_s, waveform=ramp[first : first + n]))
        start_s, first = start_s + n / RATE_HZ, first + n
    return made


@given(st.lists(st.tuples(st.floats(0.2, 60), st.sampled_from([0.0, 0.0, 0.05, 0.5, 7.0])), max_size=6))
@settings(max_examples=25, deadline=None)
def test_no_sample_is_lost_doubled_or_moved(plan: list[tuple[float, float]]):
    given_blocks = counting_blocks([length_s for length_s, _ in plan], [gap_s for _, gap_s in plan])
    stretches = list(gather(given_blocks))

    expected = [block.waveform for block in given_blocks] or [np.empty(0, np.float32)]
    got = [stretch.waveform for stretch in stretches] or [np.empty(0, np.float32)]
    assert np.array_equal(np.concatenate(got), np.concatenate(expected))
    assert all(stretch.waveform.size <= MAX_STRETCH_S * RATE_HZ for stretch in stretches)

    for block in given_blocks:
        # Every sample is unique: where did the first of this block end up?
        (stretch,) = (one for one in stretches if block.waveform[0] in one.waveform)
        position = int(np.flatnonzero(stretch.waveform == block.waveform[0])[0])
        assert stretch.start_s + position / RATE_HZ == pytest.approx(block.start_s, abs=0.1 + 1e-6)


@given(st.integers(0, 2**32 - 1), st.integers(0, 14 * 10))
@settings(max_examples=8, deadline=None)
def test_the_cut_is_at_the_quietest_place(seed: int, quiet_at: int):
    rng = np.random.default_rng(seed)
    waveform = (rng.standard_normal(120 * RATE_HZ) * rng.uniform(0.1, 0.3)).astype(np.float32)
    quiet = 105 * RATE_HZ + quiet_at * RATE_HZ // 10
    waveform[quiet : quiet + 4800] *= 0.1
    assert quietest_cut(waveform) == pytest.approx(quiet + 2400, abs=160)


def test_a_quieter_place_before_the_last_15_s_is_left_alone():
    waveform = np.full(120 * RATE_HZ, 0.5, dtype=np.float32)
    waveform[50 * RATE_HZ : 60 * RATE_HZ] = 0.0
    waveform[110 * RATE_HZ : 110 * RATE_HZ + 4800] = 0.2
    assert quietest_cut(waveform) == 110 * RATE_HZ + 2400


def test_sound_of_just_120_s_is_not_cut():
    blocks = counting_blocks([60.0, 60.0], [0.0, 0.0])
    assert [stretch.waveform.size for stretch in gather(blocks)] == [120 * RATE_HZ]
    assert len(list(gather(counting_blocks([60.0, 60.2], [0.0, 0.0])))) == 2


def test_a_gap_or_an_overlap_opens_a_new_stretch():
    a, b = np.full(RATE_HZ, 0.1, np.float32), np.full(RATE_HZ, 0.2, np.float32)

    def starts(second_s: float) -> list[float]:
        pair = [WaveformBlock(start_s=0.0, waveform=a), WaveformBlock(start_s=second_s, waveform=b)]
        return [stretch.start_s for stretch in gather(pair)]

    assert starts(1.09) == [0.0]
    assert starts(1.11) == [0.0, 1.11]
    assert starts(0.5) == [0.0, 0.5]


def test_small_gaps_do_not_add_up():
    drifting = counting_blocks([1.0] * 20, [0.04] * 20)
    true_s = {float(block.waveform[0]): block.start_s for block in drifting}
    for stretch in gather(drifting):
        for n in range(0, stretch.waveform.size, RATE_HZ):
            assert abs(stretch.start_s + n / RATE_HZ - true_s[float(stretch.waveform[n])]) <= 0.1 + 1e-9


def test_a_stub_is_skipped_and_what_is_not_a_number_is_silenced():
    stub = WaveformBlock(start_s=0.0, waveform=np.full(1599, 0.5, np.float32))
    broken = np.array([np.nan, np.inf, -np.inf, 3.0, -3.0, 0.25] * 400, dtype=np.float32)
    stretches = list(gather([stub, WaveformBlock(start_s=5.0, waveform=broken)]))
    assert [stretch.start_s for stretch in stretches] == [5.0]
    assert stretches[0].waveform[:6].tolist() == [0.0, 0.0, 0.0, 1.0, -1.0, 0.25]


def test_blocks_are_read_only_as_far_as_needed():
    read = 0

    def endless() -> Iterator[WaveformBlock]:
        nonlocal read
        while True:
            yield WaveformBlock(start_s=read * 10.0, waveform=np.zeros(160_000, np.float32))
            read += 1

    next(gather(endless()))
    assert read <= 13
