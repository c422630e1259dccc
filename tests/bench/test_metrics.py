"""Ranks against brute force, against the golden values, and on the ways to flatter a model."""

from __future__ import annotations

import math
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from savecli.bench.metrics import dual_softmax, recall, sum_of_six, t2v_ranks, v2t_ranks
from savecli.bench.reference_metrics import reference_entries

from .scores import golden, matrix, scored, slots_of

TIED = {"ties40", "const5", "multi_ties4"}


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


@pytest.mark.parametrize("best", [0, 255, 256, 999])
def test_the_best_of_very_many_captions_counts(best):
    similarity = np.zeros((1001, 2), np.float32)
    similarity[best, 1] = 2  # of the first video's captions, with the second video
    similarity[1000, 1] = 1  # the second video's own
    targets = np.array([0] * 1000 + [1])
    assert v2t_ranks(similarity, targets).tolist() == [2, 2]
    assert reference_entries(similarity, targets)[1].first().tolist() == [1, 2]


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


def test_the_sum_of_six_is_both_directions():
    similarity = np.array([[0.9, 0.1], [0.8, 0.1]], np.float32)
    t2v, v2t = (recall(ranks(similarity, np.arange(2))) for ranks in (t2v_ranks, v2t_ranks))
    assert (t2v.sum_r, v2t.sum_r, sum_of_six(t2v, v2t)) == (50 + 100 + 100, 50 + 100 + 100, 500)


@given(scored(), st.sampled_from([1.0, 3.0]))
def test_the_dual_softmax_is_brute_force(case, temperature):
    similarity, targets = case
    x, slots = similarity.astype(np.float64), slots_of(targets.tolist())

    def weighted(q, v, rivals):
        if np.isneginf(x[q, v]):
            return x[q, v]
        own = math.exp(x[q, v] / temperature)
        return x[q, v] * own / sum(math.exp(rival / temperature) for rival in rivals)

    for direction in ("t2v", "v2t"):
        before = similarity.copy()
        scores = dual_softmax(similarity, targets, direction, temperature=temperature)
        assert scores.dtype == similarity.dtype
        assert (similarity == before).all()  # a copy
        for q, v in np.ndindex(*x.shape):
            same = [other for other in range(len(x)) if slots[other] == slots[q]]
            rivals = x[same, v] if direction == "t2v" else x[q]
            assert scores[q, v] == pytest.approx(weighted(q, v, rivals), rel=1e-4, abs=1e-30)


def test_the_dual_softmax_stays_finite_with_scores_as_large_as_they_come():
    similarity = np.array([[3000.0, -3000.0], [-np.inf, -np.inf]], np.float32)
    for direction in ("t2v", "v2t"):
        with np.errstate(invalid="raise", divide="raise", over="raise"):
            scores = dual_softmax(similarity, np.array([0, 1]), direction)
        assert scores[0, 0] == 3000
        assert np.isneginf(scores[1]).all()
    assert scores[0, 1] == 0  # its share is nothing
    with pytest.raises(ValueError, match="inf"):
        dual_softmax(-similarity, np.array([0, 1]), "t2v")


def test_a_dual_softmax_takes_a_favourite_of_all_queries_down():
    hub = np.array([[4.0, 6.0], [0.0, 9.0]], np.float32)  # both captions like the second video best
    assert t2v_ranks(hub, np.arange(2)).tolist() == [2, 1]
    assert t2v_ranks(dual_softmax(hub, np.arange(2), "t2v"), np.arange(2)).tolist() == [1, 1]


def test_no_ranks_are_refused():
    with pytest.raises(ValueError, match="one rank"):
        recall(np.zeros(0, np.int64))


@pytest.mark.skipif(not golden(), reason="needs ../shared/parity")
@pytest.mark.parametrize("case", [c for c in golden() if c["name"] not in TIED], ids=lambda c: c["name"])
def test_without_ties_we_agree_with_the_golden_values(case):
    similarity, targets = matrix(case)
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


@pytest.mark.parametrize("ranks", [(t2v_ranks, v2t_ranks), (reference_entries,)])
@pytest.mark.parametrize("n_captions", [10, 15_000])
def test_a_large_gallery_is_quick_and_needs_no_second_matrix(ranks, n_captions):
    similarity = np.random.default_rng(0).random((15_000, 1_500), np.float32)
    targets = np.repeat(np.arange(15_000 // n_captions), n_captions)
    tracemalloc.start()
    start = time.perf_counter()
    for rule in ranks:
        rule(similarity, targets)
    elapsed_s, (_, peak) = time.perf_counter() - start, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < similarity.nbytes / 10
    assert elapsed_s < 10  # it takes .2 s here when nothing else runs
