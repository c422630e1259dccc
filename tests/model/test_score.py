"""The arithmetic of scores: bounded, monotone, and its parts add up."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from savecli.model.score import Curve, Score

RULE = Score(
    seen=Curve(centre=0.25, width=0.06), said=Curve(centre=0.4, width=0.09), sharpness=20.0, threshold=0.5
)
CHANCES = st.floats(0, 0.9997)
COSINES = st.floats(-1, 1)


@given(st.dictionaries(st.sampled_from(["seen", "heard", "said"]), CHANCES))
def test_the_parts_add_up_to_the_score(chances):
    score, why = RULE.of(chances)
    assert why.keys() == chances.keys()
    assert sum(why.values()) == pytest.approx(score, abs=1e-12)
    assert all(part >= 0 for part in why.values())


@given(CHANCES, CHANCES)
def test_the_score_is_the_chance_that_one_of_them_is_right(seen, said):
    score, _ = RULE.of({"seen": seen, "said": said})
    assert score == pytest.approx(1 - (1 - seen) * (1 - said), abs=1e-12)
    assert max(seen, said) - 1e-12 <= score < 1


@given(CHANCES, CHANCES)
def test_a_modality_that_says_nothing_changes_nothing(seen, said):
    alone, _ = RULE.of({"seen": seen})
    beside, why = RULE.of({"seen": seen, "said": 0.0})
    assert beside == alone
    assert why["said"] == 0
    assert RULE.of({"seen": seen, "said": said})[0] >= alone


@given(CHANCES, CHANCES)
def test_the_larger_chance_gets_the_larger_part(seen, said):
    _, why = RULE.of({"seen": seen, "said": said})
    assert (why["seen"] - why["said"]) * (seen - said) >= 0


def test_no_evidence_is_a_score_of_nothing():
    assert RULE.of({}) == (0.0, {})
    assert RULE.of({"seen": 0.0, "said": 0.0}) == (0.0, {"seen": 0.0, "said": 0.0})


@given(COSINES, COSINES)
def test_a_curve_rises_and_stays_inside_its_bounds(low, high):
    low, high = sorted((low, high))
    assert 0 < RULE.seen(low) <= RULE.seen(high) < 1


def test_a_curve_is_where_its_fit_put_it():
    curve = Curve(centre=0.3, width=0.05)
    assert curve(0.3) == pytest.approx(0.5)
    assert curve(0.35) == pytest.approx(1 / (1 + np.exp(-1)))
    assert curve(1.0) == pytest.approx(1 / (1 + np.exp(-8))), "certainty would silence every other modality"


def rows(seed: int, n: int) -> np.ndarray:
    made = np.random.default_rng(seed).standard_normal((n, 8)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.floats(0.5, 200))
def test_the_soft_maximum_lies_between_mean_and_maximum(seed, n_frames, sharpness):
    rule = Score(seen=RULE.seen, said=RULE.said, sharpness=sharpness, threshold=0.5)
    query, *frames = rows(seed, n_frames + 1)
    local = np.array(frames) @ query
    nothing_pooled = np.zeros((1, 8), np.float32)
    soft = 2 * rule.seen_cosine(query, nothing_pooled, np.array(frames))
    assert local.mean() - 1e-5 <= soft <= local.max() + 1e-5


def test_a_sharper_maximum_is_nearer_to_the_best_frame():
    query, *frames = rows(3, 9)
    soft = [
        Score(seen=RULE.seen, said=RULE.said, sharpness=sharpness, threshold=0.5).seen_cosine(
            query, np.zeros((1, 8), np.float32), np.array(frames)
        )
        for sharpness in (1, 10, 1000)
    ]
    assert soft == sorted(soft)
    assert 2 * soft[-1] == pytest.approx((np.array(frames) @ query).max(), abs=3e-3)


def test_half_of_the_cosine_is_the_pooled_rows():
    query, pooled, frame = rows(4, 3)
    cosine = RULE.seen_cosine(query, pooled[None], frame[None])
    assert cosine == pytest.approx((pooled @ query + frame @ query) / 2, abs=1e-6)


@given(st.integers(0, 2**32 - 1))
def test_a_better_frame_never_lowers_the_cosine(seed):
    query, pooled, *frames = rows(seed, 6)
    worse, better = np.array(frames), np.array([*frames[1:], query])
    assert (
        RULE.seen_cosine(query, pooled[None], better) >= RULE.seen_cosine(query, pooled[None], worse) - 1e-6
    )
