import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from savecli.media.clock import heal


def healed(stamps: np.ndarray) -> np.ndarray:
    out = stamps.copy()
    for number, shift in heal(stamps):
        out[number:] = stamps[number:] + shift
    return out


def ticking(n: int, start_s: float = 0.0) -> np.ndarray:
    return start_s + np.arange(n) * 0.04


def test_a_sane_clock_is_left_alone() -> None:
    assert heal(ticking(1000, 3600.0)) == ()


def test_a_pause_is_true() -> None:
    assert heal(np.concatenate([ticking(100), ticking(100, 600)])) == ()


def test_joined_recordings_run_on() -> None:
    stamps = np.concatenate([ticking(60), ticking(60), ticking(60)])
    assert np.allclose(healed(stamps), ticking(180))


@given(st.integers(1, 98), st.sampled_from([-50.0, 30.0, 36_000.0, 1e9]))
def test_one_wild_stamp_changes_nothing_after_it(wild: int, by_s: float) -> None:
    stamps = ticking(100, 60.0)
    stamps[wild] += by_s
    assert np.allclose(healed(stamps), ticking(100, 60.0))


def test_a_wild_last_stamp_is_no_ten_hours() -> None:
    stamps = ticking(100)
    stamps[-1] = 36_000
    assert healed(stamps)[-1] < 5


def test_holes_are_no_leaps() -> None:
    stamps = ticking(50, 100.0)
    stamps[[0, 1, 30]] = np.nan
    assert heal(stamps) == ()
    assert heal(np.full(5, np.nan)) == ()
