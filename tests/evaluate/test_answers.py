"""Matrices by hand: ranks, kinds and the best five; and what a graph proposes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from savecli.bench.metrics import recall
from savecli.bench.records import Clip
from savecli.errors import StoreError
from savecli.evaluate import candidates
from savecli.evaluate.answers import measured
from savecli.evaluate.candidates import loss, masked, proposed

CLIPS = [
    Clip(video_id="a", path=Path("a"), captions=("a man sings", "a dog")),
    Clip(video_id="b", path=Path("b"), captions=("she says hello",)),
    Clip(video_id="c", path=Path("c"), captions=("a cat",)),
]
SCORE = np.array([[3, 1, 2], [2, 4, 2], [0, 5, 1], [9, 8, 8]], np.float32)
RULES = {"dual_softmax": False, "reference": False}


def test_ranks_kinds_and_the_best_answers():
    found = measured(SCORE, CLIPS, "csv", **RULES)
    asked = found.answers["t2v"]
    assert [(a.query, a.video_id, a.kind, a.rank) for a in asked] == [
        ("a man sings", "a", "sound", 1),
        ("a dog", "a", "neither", 3),  # behind c, which scores as high
        ("she says hello", "b", "speech", 1),
        ("a cat", "c", "neither", 3),  # behind b as well
    ]
    assert asked[1].top == (("b", 4.0), ("a", 2.0), ("c", 2.0))
    assert found.by_kind["neither"] == recall(np.array([3, 3]))
    assert found.by_kind.keys() == {"sound", "speech", "neither"}
    assert found.t2v == recall(np.array([1, 3, 1, 3]))
    # Video a has 9 with c's caption, and at best 3 with its own.
    back = found.answers["v2t"]
    assert [(a.query, a.video_id, a.kind, a.rank) for a in back] == [
        ("a", "a", "", 2),
        ("b", "b", "", 2),
        ("c", "c", "", 1),
    ]
    assert back[0].top[:2] == (("a cat", 9.0), ("a man sings", 3.0))
    assert found.v2t == recall(np.array([2, 2, 1]))


def test_no_more_than_five_and_no_video_that_was_no_candidate():
    clips = [Clip(video_id=str(i), path=None, captions=(f"caption {i}",)) for i in range(8)]
    score = np.arange(64, dtype=np.float32).reshape(8, 8)
    assert [name for name, _ in measured(score, clips, "csv", **RULES).answers["t2v"][0].top] == list("76543")
    score[0, 3:] = -np.inf
    found = measured(score, clips, "csv", **RULES).answers["t2v"]
    assert [name for name, _ in found[0].top] == ["2", "1", "0"]
    score[3, 3] = -np.inf
    assert measured(score, clips, "csv", **RULES).answers["t2v"][3].rank == 8


def test_equal_scores_are_counted_by_either_rule():
    flat = np.ones((4, 3), np.float32)
    assert measured(flat, CLIPS, "csv", **RULES).t2v.r1 == 0
    usual = measured(flat, CLIPS, "csv", dual_softmax=False, reference=True)
    assert usual.t2v.r1 == 50  # a sort leaves the first column first
    square = [Clip(video_id=c.video_id, path=None, captions=c.captions[:1]) for c in CLIPS]
    usual = measured(flat[:3], square, "charades", dual_softmax=False, reference=True)
    assert usual.t2v.n_queries == 9  # the square case has an entry for each tie
    assert sum(found.n_queries for found in usual.by_kind.values()) == 9


def test_dual_softmax_changes_both_directions():
    plain = measured(SCORE, CLIPS, "csv", **RULES)
    found = measured(SCORE, CLIPS, "csv", dual_softmax=True, reference=False)
    assert found.answers["t2v"][3].top != plain.answers["t2v"][3].top
    assert found.answers["v2t"][0].top != plain.answers["v2t"][0].top


# -- graphs ------------------------------------------------------------------------------------------------


def unit(n, seed):
    rows = np.random.default_rng(seed).standard_normal((n, 16)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("engine", ["usearch", "hnswlib"])
def test_candidates_own_the_rows_that_are_nearest(engine, monkeypatch):
    pytest.importorskip(engine)
    monkeypatch.setattr(candidates, "N_CANDIDATES", 3)
    rows, asked = unit(60, 1), unit(20, 2)
    owners = np.arange(60) // 4
    found = proposed(engine, {"seen": (rows, owners)}, {"seen": asked}, 15)
    for caption, row in enumerate(asked):
        nearest = np.argsort(-rows @ row)[:3]
        assert set(np.flatnonzero(found[caption])) == set(owners[nearest])
    both = proposed(
        engine, {"seen": (rows, owners), "said": (rows[:1], owners[:1])}, {"seen": asked, "said": asked}, 15
    )
    assert (both[:, 0]).all()
    assert (both[:, 1:] == found[:, 1:]).all()


def test_a_graph_s_loss_is_the_share_of_the_best_that_it_lacks():
    score = np.arange(40, dtype=np.float32).reshape(2, 20)
    found = np.ones((2, 20), bool)
    exact = recall(np.array([1, 1]))
    assert loss("usearch", score, found, exact).recall_at_10 == 1
    found[0, 10:15] = False  # half of the ten best
    found[1, :10] = False  # none of them
    assert loss("usearch", score, found, exact).recall_at_10 == 0.75
    hidden = masked(score, found)
    assert np.isneginf(hidden[~found]).all()
    assert (hidden[found] == score[found]).all()
    assert loss("usearch", score[:, :3], found[:, :3], exact).recall_at_10 == 0.5


def test_an_engine_that_is_not_there():
    with pytest.raises(StoreError, match="no graph engine"):
        proposed("faiss", {"seen": (unit(3, 1), np.arange(3))}, {"seen": unit(1, 2)}, 3)
