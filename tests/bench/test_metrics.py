"""Ranks against brute force, against the golden values, and on the ways to flatter a model."""

from __future__ import annotations

import json
import os
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stnp

from savecli.bench.metrics import recall, t2v_ranks, v2t_ranks

SHARED = Path(os.environ.get("SAVE_SHARED", Path(__file__).resolve().parents[3] / "shared"))
PARITY = SHARED / "parity"
TIED = {"ties40", "const5", "multi_ties4"}


@st.composite
def scored(draw):
    """A small similarity matrix, often with ties and infinities, and its targets in any order."""
    n_queries, n_videos = draw(st.integers(1, 9)), draw(st.integers(1, 6))
    value = st.one_of(st.integers(-2, 2).map(float), st.floats(-1, 1, width=32), st.just(float("-inf")))
    similarity = draw(stnp.arrays(np.float32, (n_queries, n_videos), elements=value))
    targets = draw(st.lists(st.integers(0, n_videos - 1), min_size=n_queries, max_size=n_queries))
    return similarity, np.array(targets)


def last_among_equals(own, others):
    return 1 + sum(other >= own for other in others)


@given(scored())
def test_t2v_is_brute_force(case):
    similarity, targets = case
    expected = [
        last_among_equals(row[v], [*row[:v], *row[v + 1 :]])
        for row, v in zip(similarity.tolist(), targets.tolist(), strict=True)
    ]
    assert t2v_ranks(similarity, targets).tolist() == expected


@given(scored())
def test_v2t_is_brute_force(case):
    similarity, targets = case
    described = sorted(set(targets.tolist()))

    def best(group, video):
        return max(float(similarity[q, video]) for q in range(len(targets)) if targets[q] == group)

    expected = [
        last_among_equals(best(v, v), [best(group, v) for group in described if group != v])
        for v in described
    ]
    assert v2t_ranks(similarity, targets).tolist() == expected


@given(scored(), st.randoms())
def test_the_order_of_captions_does_not_matter(case, random):
    similarity, targets = case
    order = list(range(len(targets)))
    random.shuffle(order)
    assert (
        t2v_ranks(similarity[order], targets[order]).tolist()
        == t2v_ranks(similarity, targets)[order].tolist()
    )
    assert v2t_ranks(similarity[order], targets[order]).tolist() == v2t_ranks(similarity, targets).tolist()


@given(scored())
def test_the_summary_is_brute_force(case):
    ranks = t2v_ranks(*case)
    found = recall(ranks)
    listed = sorted(ranks.tolist())
    for k, value in ((1, found.r1), (5, found.r5), (10, found.r10)):
        assert value == pytest.approx(100 * sum(rank <= k for rank in listed) / len(listed))
    middle = listed[(len(listed) - 1) // 2], listed[len(listed) // 2]
    assert found.median_rank == sum(middle) / 2
    assert found.mean_rank == pytest.approx(sum(listed) / len(listed))
    assert found.n_queries == len(listed)
    assert found.sum_r == pytest.approx(found.r1 + found.r5 + found.r10)


def test_one_score_for_everything_comes_last():
    flat = np.zeros((20, 20), np.float32)
    assert set(t2v_ranks(flat, np.arange(20))) == set(v2t_ranks(flat, np.arange(20))) == {20}
    assert recall(t2v_ranks(flat, np.arange(20))).r10 == 0


def test_several_captions_of_a_video_help_and_do_not_compete():
    similarity = np.array([[0.9, 0.1], [0.8, 0.1], [0.7, 0.2]], np.float32)
    assert v2t_ranks(similarity, np.array([0, 0, 1])).tolist() == [1, 1]
    assert t2v_ranks(similarity, np.array([0, 0, 1])).tolist() == [1, 1, 2]


def test_a_video_without_captions_is_a_candidate_and_no_query():
    similarity = np.array([[0.5, 0.9]], np.float32)
    assert t2v_ranks(similarity, np.array([0])).tolist() == [2]
    assert v2t_ranks(similarity, np.array([0])).tolist() == [1]


@pytest.mark.parametrize(
    ("similarity", "targets"),
    [
        (np.array([[0.0, np.nan]], np.float32), np.array([0])),
        (np.zeros((2, 2), np.float32), np.array([0])),
        (np.zeros((2, 2), np.float32), np.array([0, 2])),
        (np.zeros((2, 2), np.float32), np.array([0, -1])),
        (np.zeros((2, 2), np.float32), np.array([0.0, 1.0])),
        (np.zeros((0, 2), np.float32), np.zeros(0, int)),
        (np.zeros(2, np.float32), np.array([0, 1])),
    ],
)
def test_what_makes_no_sense_is_refused(similarity, targets):
    for ranks in (t2v_ranks, v2t_ranks):
        with pytest.raises(ValueError, match=r"NaN|targets|target"):
            ranks(similarity, targets)


def test_no_ranks_are_refused():
    with pytest.raises(ValueError, match="one rank"):
        recall(np.zeros(0, np.int64))


def golden():
    if not (PARITY / "metrics.json").exists():
        return []
    return json.loads((PARITY / "metrics.json").read_text("utf-8"))


@pytest.mark.skipif(not golden(), reason="needs ../shared/parity")
@pytest.mark.parametrize("case", [c for c in golden() if c["name"] not in TIED], ids=lambda c: c["name"])
def test_without_ties_we_agree_with_the_golden_values(case):
    with np.load(PARITY / "metrics.npz", allow_pickle=False) as arrays:
        similarity = arrays[case["name"]]
    if case["mode"] == "single":
        targets = np.arange(len(similarity))
    else:
        targets = np.repeat(np.arange(similarity.shape[1]), np.diff([0, *case["cut_off_points"]]))
    t2v, v2t = t2v_ranks(similarity, targets), v2t_ranks(similarity, targets)
    if case["name"] == "neg_inf6":  # there a query whose own score is -inf vanishes; here it comes last
        lost = np.isneginf(similarity[targets, targets])
        assert set(t2v[lost]) == set(v2t[lost]) == {len(similarity)}
        t2v, v2t = t2v[~lost], v2t[~lost]
    for ranks, theirs in ((t2v, case["t2v"]), (v2t, case["v2t"])):
        # By slot they go through all first captions, then all second ones: compare as a multiset.
        given_ = theirs["cols"] if "cols" in theirs else theirs["ranks0"]
        assert sorted(ranks - 1) == sorted(given_)
        ours = recall(ranks)
        assert [ours.r1, ours.r5, ours.r10] == pytest.approx(
            [theirs[k] for k in ("R1", "R5", "R10")], abs=1e-4
        )
        assert ours.mean_rank == pytest.approx(theirs["MeanR"], abs=1e-4)
        if "cols" in theirs:  # the other variant takes the lower of the two middle ranks
            assert ours.median_rank == theirs["MedianR"]


def test_a_large_gallery_is_quick_and_needs_no_second_matrix():
    similarity = np.random.default_rng(0).random((15_000, 1_500), np.float32)
    targets = np.repeat(np.arange(1_500), 10)
    tracemalloc.start()
    start = time.perf_counter()
    t2v_ranks(similarity, targets), v2t_ranks(similarity, targets)
    elapsed_s, (_, peak) = time.perf_counter() - start, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < similarity.nbytes / 10
    assert elapsed_s < 10  # it takes .2 s here when nothing else runs
