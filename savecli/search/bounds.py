"""Where in its segments a moment begins and ends: by words for what is said, by frames for what is seen.

A moment is cut from outside: a frame or utterance at either end goes if it speaks for the query much less
than the best one, by the rule that joins segments (`moments.JOIN_SHARE`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from savecli.model.score import Query, Score
from savecli.model.words import content
from savecli.search.exact import timed
from savecli.search.moments import JOIN_SHARE, Draft
from savecli.search.scoring import Text
from savecli.store import Store

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
    ids = [segment.segment_id for segment in draft.segments]
    rows, times = store.rows("frames", ids), store.frame_times(ids)
    stacked = np.concatenate([rows[i] for i in ids])
    at_s = np.concatenate([times[i] for i in ids])
    if len(stacked) < 2:
        return draft
    evidence = rule.steps["seen"](stacked @ query.rows["seen"])
    kept = np.flatnonzero(evidence >= JOIN_SHARE * evidence.max())
    first, last = int(kept[0]), int(kept[-1])
    # A frame stands for the time up to halfway to its neighbours.
    start_s = draft.start_s if first == 0 else float(at_s[first - 1] + at_s[first]) / 2
    end_s = draft.end_s if last == len(at_s) - 1 else float(at_s[last] + at_s[last + 1]) / 2
    lacking = (LEAST_S - (end_s - start_s)) / 2
    if lacking > 0:
        start_s, end_s = max(draft.start_s, start_s - lacking), min(draft.end_s, end_s + lacking)
    return replace(draft, start_s=start_s, end_s=end_s, best_s=min(max(draft.best_s, start_s), end_s))


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
