"""Frames, seconds and timecodes agree with OpenTimelineIO's arithmetic."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentimelineio.opentime import RationalTime, from_timecode

from savecli.export.timecode import RATES, editing_rate, frames, parse, timecode

DROPPING = [Fraction(30_000, 1001), Fraction(60_000, 1001)]


@given(st.integers(0, 24 * 3600 * 24 - 1), st.sampled_from(RATES))
def test_a_timecode_reads_back(frame, rate):
    assert parse(timecode(frame, rate), rate) == frame


@given(st.integers(0, 2_589_407), st.sampled_from(DROPPING))
def test_dropped_numbers_are_those_of_the_standard(frame, rate):
    told = timecode(frame, rate, drop=True)
    assert parse(told, rate) == frame
    assert from_timecode(told, float(rate)).value == frame
    # No minute but a tenth one begins with a number that is dropped.
    minutes, seconds, number = int(told[3:5]), int(told[6:8]), int(told[9:])
    assert minutes % 10 == 0 or seconds or number >= round(rate) // 15
    # The clock tells real time, within two frames.
    clock_s = int(told[:2]) * 3600 + minutes * 60 + seconds + number / round(rate)
    assert clock_s == pytest.approx(float(frame / rate), abs=0.15)


@given(st.integers(0, 10**6), st.sampled_from([Fraction(24), Fraction(25), Fraction(30), Fraction(50)]))
def test_numbers_that_are_not_dropped(frame, rate):
    assert timecode(frame, rate) == RationalTime(frame, float(rate)).to_timecode()


@pytest.mark.parametrize("text", ["", "1:2:3", "aa:00:00:00", "-1:00:00:00"])
def test_what_is_no_timecode(text):
    with pytest.raises(ValueError, match="timecode"):
        parse(text, Fraction(25))


@pytest.mark.parametrize(
    ("rate", "editing"),
    [
        (Fraction(0), 25),
        (Fraction(25), 25),
        (Fraction(30_000, 1001), Fraction(30_000, 1001)),
        (Fraction(10), 30),
        (Fraction(25, 2), 25),
        (Fraction(15_000, 1001), Fraction(30_000, 1001)),
        (Fraction(15), 30),
        (Fraction(20), 60),
        (Fraction(179, 6), Fraction(30_000, 1001)),
        (Fraction(120), 60),
        (Fraction(779, 74), 30),
        (Fraction(1), 24),
    ],
)
def test_a_timeline_takes_the_rate_or_a_multiple(rate, editing):
    assert editing_rate(rate) == editing


@given(st.floats(0, 1e5), st.floats(0.001, 100), st.sampled_from(RATES))
def test_frames_show_all_of_a_span_and_little_more(start_s, length_s, rate):
    first, after = frames(start_s, start_s + length_s, rate)
    assert after > first
    assert start_s - 1 / rate - 1e-3 <= first / rate <= start_s + 0.0011
    assert start_s + length_s - 0.0011 <= after / rate
    assert after / rate <= max(start_s + length_s, float(first / rate)) + 1 / rate + 1e-3
