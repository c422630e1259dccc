"""Where a moment begins and ends: by words for what is said, by frames for what is seen.

What is said goes from the first word to the last of the utterances that speak for the query nearly as well as
the best one, by the rule that joins segments (`moments.JOIN_SHARE`). What is seen goes on into the segments
beside it as long as frames do so or look like those that do, and loses frames at its ends that show something
else: a shot ends where the picture changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from savecli.model.score import Query, Score
from savecli.model.words import content
from savecli.search.exact import timed
from savecli.search.moments import JOIN_SHARE, Draft
from savecli.search.scoring import Text
from savecli.store import Store

if TYPE_CHECKING:
    from numpy.typing import NDArray

LOOKS_ALIKE, LOOKS_OTHER = 0.7, 0.4
"""Cosines with the frames that speak for a moment: from the one on a frame beside it belongs to it, below the
other a frame of its own does not. Of the frames of a clip of `save demo` nine in ten are above the first, of
those of other clips nine in ten below."""
LEAST_S = 2.0
"""No moment is cut shorter than this for what is seen: a glance is too short to find one's way."""


def refined(draft: Draft, texts: Sequence[Text], store: Store, rule: Score) -> Draft:
    """The draft between the first and the last of what speaks for it, by the modality that speaks most."""
    modality = max(draft.why, key=lambda name: draft.why[name])
    query = next((t.query for t in texts if not t.is_against and modality in t.query.rows), None)
    if query is None or not draft.why[modality] > 0:
        return draft
    if modality == "said":
        return _by_words(draft, query, store, rule)
    if modality == "seen":
        return _by_frames(draft, query, store, rule)
    return draft


def _by_frames(draft: Draft, query: Query, store: Store, rule: Score) -> Draft:
    own = {segment.segment_id for segment in draft.segments}
    # A span that ends at a segment's end touches the next one; so it is widened by next to nothing.
    beside = store.segments_within(draft.best.video_id, draft.start_s - 0.01, draft.end_s + 0.01)
    around = [segment for segment in beside if segment.n_frames]
    ids = [segment.segment_id for segment in around]
    by_segment, times = store.rows("frames", ids), store.frame_times(ids)
    if own.isdisjoint(ids):
        return draft
    rows = np.concatenate([by_segment[i] for i in ids])
    at_s = np.concatenate([times[i] for i in ids])
    is_own = np.repeat([i in own for i in ids], [len(by_segment[i]) for i in ids])
    evidence = rule.steps["seen"](rows @ query.rows["seen"])
    best = int(np.where(is_own, evidence, -np.inf).argmax())
    speaks = evidence >= JOIN_SHARE * evidence[best]
    core = rows[speaks & is_own].mean(axis=0)
    alike = rows @ (core / max(float(np.linalg.norm(core)), 1e-9))
    first, last = _reach(speaks | (alike >= np.where(is_own, LOOKS_OTHER, LOOKS_ALIKE)), best)
    edges = np.array([segment.end_s for segment in around])
    start_s = around[0].start_s if first == 0 else _between(at_s[first - 1], at_s[first], edges)
    end_s = around[-1].end_s if last == len(at_s) - 1 else _between(at_s[last], at_s[last + 1], edges)
    lacking = max(0.0, LEAST_S - (end_s - start_s)) / 2
    start_s = max(around[0].start_s, start_s - lacking)
    end_s = min(around[-1].end_s, end_s + lacking)
    return replace(draft, start_s=start_s, end_s=end_s, best_s=min(max(draft.best_s, start_s), end_s))


def _between(one_s: float, next_s: float, edges: NDArray[np.float64]) -> float:
    """Where what a frame shows ends: where its segment does, if that is before the next frame, or halfway."""
    inside = edges[(edges > one_s) & (edges <= next_s)]
    return float(inside[0]) if len(inside) else float(one_s + next_s) / 2


def _reach(belongs: NDArray[np.bool_], best: int) -> tuple[int, int]:
    """The run of frames around the best one that belong to it; a single one in between may not."""
    joined = belongs.copy()
    joined[1:-1] |= belongs[:-2] & belongs[2:]
    breaks = np.flatnonzero(~joined)
    before, after = breaks[breaks < best], breaks[breaks > best]
    return int(before[-1]) + 1 if len(before) else 0, int(after[0]) - 1 if len(after) else len(joined) - 1


def _by_words(draft: Draft, query: Query, store: Store, rule: Score) -> Draft:
    ids = [segment.segment_id for segment in draft.segments]
    spoken, rows = store.utterances(ids), store.rows("said", ids)
    own = [(u, row) for i in ids for u, row in zip(spoken[i], rows[i], strict=False)]
    if not own:
        return draft
    cosines = np.array([float(row @ query.rows["said"]) for _, row in own])
    exact = [sum(query.words.get(word, 0.0) for word in set(content(u.text))) for u, _ in own]
    evidence = rule.steps["said"](cosines + rule.words * np.array(exact))
    kept = np.flatnonzero(evidence >= JOIN_SHARE * evidence.max())
    words = [[(w.start_s, w.end_s) for w in timed(u)] or [(u.start_s, u.end_s)] for u, _ in own]
    start_s, end_s = words[int(kept[0])][0][0], words[int(kept[-1])][-1][1]
    best = words[int(evidence.argmax())][0][0]
    return replace(draft, start_s=start_s, end_s=end_s, best_s=best)
