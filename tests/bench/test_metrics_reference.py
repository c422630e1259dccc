"""The usual code's rule: every golden value, and brute force from its description."""

from __future__ import annotations

import math
from itertools import chain
from statistics import median, median_low

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from savecli.bench.metrics import dual_softmax, recall, t2v_ranks, v2t_ranks
from savecli.bench.reference_metrics import SQUARE, reference_entries, reference_recall

from .scores import golden, matrix, scored, slots_of

ALL_GOLDEN = pytest.mark.parametrize("case", golden(), ids=lambda c: c["name"])
TRANSPOSED = {"multi10", "multi60x20", "one_each30", "multi_ties4"}  # whose dsl_v2t is not offered


def same(found, theirs):
    ours = [found.r1, found.r5, found.r10, found.median_rank, found.mean_rank]
    return ours == pytest.approx([theirs[k] for k in ("R1", "R5", "R10", "MedianR", "MeanR")], abs=1e-4)


@pytest.mark.skipif(not golden(), reason="needs ../shared/parity")
@ALL_GOLDEN
def test_every_golden_value(case):
    similarity, targets = matrix(case)
    square = case["mode"] == "single"
    t2v, v2t = reference_recall(similarity, targets, square=square)
    assert same(t2v, case["t2v"])
    assert same(v2t, case["v2t"])
    entries = reference_entries(similarity, targets, square=square)
    # They go through all first captions, then all second ones.
    by_slot = np.lexsort((targets, slots_of(targets.tolist()))) if not square else slice(None)
    assert (entries[0].ranks[by_slot] - 1).tolist() == case["t2v"]["cols" if square else "ranks0"]
    assert (entries[1].ranks - 1).tolist() == case["v2t"]["cols"]


@pytest.mark.skipif(not golden(), reason="needs ../shared/parity")
@ALL_GOLDEN
def test_the_dual_softmax_is_theirs_but_for_the_transposed_weights(case):
    similarity, targets = matrix(case)
    square = case["mode"] == "single"
    t2v, _ = reference_recall(dual_softmax(similarity, targets, "t2v"), targets, square=square)
    _, v2t = reference_recall(dual_softmax(similarity, targets, "v2t"), targets, square=square)
    assert same(t2v, case["dsl_t2v"])
    assert same(v2t, case["dsl_v2t"]) == (case["name"] not in TRANSPOSED)
    if case["name"] == "one_each30":
        assert v2t.r1 < case["dsl_v2t"]["R1"] - 10  # what the transposed weights would add


def places_of_all_equals(own, row):
    """0-based places of every score that is as high as the own one, which is none if that is infinite."""
    if math.isinf(own):
        return []
    return [place for place, score in enumerate(sorted(row, reverse=True)) if score == own]


@st.composite
def square(draw):
    similarity, _ = draw(scored())
    n = min(similarity.shape)
    return similarity[:n, :n], np.array(draw(st.permutations(range(n))))


@given(square())
def test_the_square_case_is_brute_force(case):
    similarity, targets = case
    t2v, v2t = reference_entries(similarity, targets, square=True)
    rows, columns = similarity.tolist(), similarity[np.argsort(targets)].T.tolist()
    expected = [places_of_all_equals(row[v], row) for row, v in zip(rows, targets.tolist(), strict=True)]
    assert (t2v.ranks - 1).tolist() == [*chain(*expected)]
    assert t2v.queries.tolist() == [q for q, places in enumerate(expected) for _ in places]
    assert t2v.first().tolist() == [places[0] + 1 if places else 0 for places in expected]
    expected = [places_of_all_equals(row[v], row) for v, row in enumerate(columns)]
    assert (v2t.ranks - 1).tolist() == [*chain(*expected)]


@given(scored())
def test_several_captions_are_brute_force(case):
    similarity, targets = case
    t2v, v2t = reference_entries(similarity, targets)
    ranks = [
        sorted(range(len(row)), key=lambda v: -row[v]).index(own) + 1  # a stable sort
        for row, own in zip(similarity.tolist(), targets.tolist(), strict=True)
        if math.isfinite(row[own])
    ]
    assert t2v.ranks.tolist() == ranks
    if ranks:
        found = t2v.recall()
        assert found.median_rank == median_low(ranks)
        assert found.n_queries == len(ranks)
    described = sorted(set(targets.tolist()))
    best = {v: [similarity[targets == g, v].max() for g in described] for v in described}
    expected = [places_of_all_equals(best[v][i], best[v]) for i, v in enumerate(described)]
    assert (v2t.ranks - 1).tolist() == [*chain(*expected)]
    if v2t.ranks.size:
        assert v2t.recall().median_rank == median(v2t.ranks.tolist())


@given(st.integers(2, 8), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_without_ties_the_rules_differ_in_one_median_alone(n_videos, n_captions, seed):
    similarity = np.random.default_rng(seed).permutation(n_videos**2 * n_captions).astype(np.float32)
    similarity = similarity.reshape(-1, n_videos)
    targets = np.repeat(np.arange(n_videos), n_captions)
    t2v, v2t = reference_entries(similarity, targets)
    assert t2v.ranks.tolist() == t2v_ranks(similarity, targets).tolist()
    assert v2t.ranks.tolist() == v2t_ranks(similarity, targets).tolist()
    assert v2t.recall() == recall(v2t.ranks)
    if n_captions == 1:
        assert reference_recall(similarity, targets, square=True)[0] == recall(t2v.ranks)


def test_ties_flatter_a_model_that_knows_nothing():
    flat = np.zeros((20, 20), np.float32)
    t2v, v2t = reference_recall(flat, np.arange(20), square=True)
    assert t2v == v2t
    assert (t2v.r1, t2v.r10, t2v.n_queries) == (5, 50, 400)
    assert recall(t2v_ranks(flat, np.arange(20))).r10 == 0


def test_some_of_the_queries():
    similarity = np.array([[9, 0, 1], [8, 0, 3], [7, 7, 7]], np.float32)
    t2v, _ = reference_entries(similarity, np.arange(3), square=True)
    assert t2v.recall(np.array([True, False, False])).mean_rank == 1
    assert t2v.recall(np.array([False, False, True])).n_queries == 3
    with pytest.raises(ValueError, match="one rank"):
        t2v.recall(np.zeros(3, bool))


def test_the_square_case_is_refused_where_it_is_none():
    assert SQUARE == ("charades", "lsmdc")
    for similarity, targets in (
        (np.zeros((2, 3), np.float32), np.array([0, 1])),
        (np.zeros((2, 2), np.float32), np.array([0, 0])),
    ):
        with pytest.raises(ValueError, match="one caption for each"):
            reference_recall(similarity, targets, square=True)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        reference_recall(np.array([[np.nan]]), np.array([0]))
