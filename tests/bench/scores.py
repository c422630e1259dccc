"""Similarity matrices: made up by hypothesis, and the golden ones of ../shared/parity."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as stnp

SHARED = Path(os.environ.get("SAVE_SHARED", Path(__file__).resolve().parents[3] / "shared"))
PARITY = SHARED / "parity"


@st.composite
def scored(draw):
    """A small similarity matrix, often with ties and infinities, and its targets in any order."""
    n_queries, n_videos = draw(st.integers(1, 9)), draw(st.integers(1, 6))
    value = st.one_of(st.integers(-2, 2).map(float), st.floats(-1, 1, width=32), st.just(float("-inf")))
    similarity = draw(stnp.arrays(np.float32, (n_queries, n_videos), elements=value))
    targets = draw(st.lists(st.integers(0, n_videos - 1), min_size=n_queries, max_size=n_queries))
    return similarity, np.array(targets)


def slots_of(targets):
    return [targets[:i].count(v) for i, v in enumerate(targets)]


def golden():
    if not (PARITY / "metrics.json").exists():
        return []
    return json.loads((PARITY / "metrics.json").read_text("utf-8"))


def matrix(case):
    """A golden similarity matrix and its targets."""
    with np.load(PARITY / "metrics.npz", allow_pickle=False) as arrays:
        similarity = arrays[case["name"]]
    if case["mode"] == "single":
        return similarity, np.arange(len(similarity))
    return similarity, np.repeat(np.arange(similarity.shape[1]), np.diff([0, *case["cut_off_points"]]))
