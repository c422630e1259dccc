"""Query -> moments: nearest rows of each modality, scored exactly, neighbours joined."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log1p
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from savecli.datatypes import Moment, Results, Utterance
from savecli.errors import QueryError
from savecli.store import Store, StoredSegment

if TYPE_CHECKING:
    from savecli.model.encode import Query
    from savecli.model.score import Score

N_CANDIDATES = 200
JOIN_SHARE = 0.6  # a neighbour belongs to a moment if its evidence is at least this share of the best's
SNIPPET_CHARACTERS = 160


class QueryEncoder(Protocol):
    """The half of an encoder that a search needs."""

    score: Score

    def query(self, text: str) -> Query:
        """A query's rows."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scored:
    """A segment with its score, and where in it the query is met best."""

    segment: StoredSegment
    score: float
    why: Mapping[str, float]
    best_s: float
    utterances: tuple[Utterance, ...]
    best_utterance: int | None

    @property
    def evidence(self) -> float:
        """What adds up over modalities: -log(1 - score)."""
        return -log1p(-min(self.score, 1 - 1e-9))


def search(
    text: str, store: Store, encoder: QueryEncoder, *, top_k: int = 10, threshold: float | None = None
) -> Results:
    """The moments that answer a query.

    Args:
        text: free text.
        store: open for reading or writing.
        encoder: of the model that made the store.
        top_k: how many moments.
        threshold: score below which nothing matches; None takes the model's own, 0 shows all.

    Raises:
        QueryError: an empty query.
    """
    if not text.strip():
        raise QueryError("the query is empty", hint='save search "man says good boy"')
    least = encoder.score.threshold if threshold is None else threshold
    with store.snapshot():
        scored, exact = _score(encoder.query(text), store, encoder.score)
    moments = [_moment(group) for group in _groups(scored)]
    moments.sort(key=lambda m: (-m.score, str(m.path), m.start_s))
    kept = tuple(m for m in moments if m.score >= least)[:top_k]
    below = next((m for m in moments if m.score < least), None)
    return Results(moments=kept, nearest=below, exact=exact)


def _score(query: Query, store: Store, score: Score) -> tuple[list[_Scored], bool]:
    ids: set[int] = set()
    exact = True
    for kind, row in (("seen", query.seen), ("said", query.said)):
        ids |= {hit.segment_id for hit in store.nearest(kind, row, N_CANDIDATES)}  # type: ignore[arg-type]
        exact &= store.last_search_exact
    segments = store.segments(sorted(ids))
    order = [segment.segment_id for segment in segments]
    seen, frames, said = (store.rows(kind, order) for kind in ("seen", "frames", "said"))
    times, spoken = store.frame_times(order), store.utterances(order)
    scored = []
    for segment in segments:
        i = segment.segment_id
        chances: dict[str, float] = {"seen": 0.0, "said": 0.0}
        best_frame_s, best_utterance = segment.start_s, None
        if len(frames[i]):
            chances["seen"] = score.seen(score.seen_cosine(query.seen, seen[i], frames[i]))
            best_frame_s = float(times[i][(frames[i] @ query.seen).argmax()])
        if len(said[i]):
            cosines = said[i] @ query.said
            chances["said"] = score.said(float(cosines.max()))
            best_utterance = int(cosines[: len(spoken[i])].argmax())
        total, why = score.of(chances)
        spoke = best_utterance is not None and why["said"] > why["seen"]
        scored.append(
            _Scored(
                segment=segment,
                score=total,
                why=why,
                best_s=spoken[i][best_utterance].start_s
                if spoke and best_utterance is not None
                else best_frame_s,
                utterances=spoken[i],
                best_utterance=best_utterance,
            )
        )
    return scored, exact


def _groups(scored: Sequence[_Scored]) -> list[list[_Scored]]:
    """Each best segment with the neighbours that answer the query nearly as well."""
    by_video: defaultdict[str, list[_Scored]] = defaultdict(list)
    for item in scored:
        by_video[item.segment.video_id].append(item)
    groups = []
    for items in by_video.values():
        items.sort(key=lambda item: item.segment.start_s)
        free = set(range(len(items)))
        for best in sorted(free, key=lambda i: -items[i].score):
            if best not in free:
                continue
            first, last = _reach(items, best, free, -1), _reach(items, best, free, +1)
            free -= set(range(first, last + 1))
            groups.append(items[first : last + 1])
    return groups


def _reach(items: Sequence[_Scored], best: int, free: set[int], step: int) -> int:
    """How far the moment of `best` goes in one direction."""
    least = JOIN_SHARE * items[best].evidence
    at = best
    while (beside := at + step) in free:
        earlier, later = sorted((at, beside))
        touching = items[earlier].segment.end_s == items[later].segment.start_s
        if not touching or items[beside].evidence < least:
            break
        at = beside
    return at


def _moment(group: Sequence[_Scored]) -> Moment:
    best = max(group, key=lambda item: item.score)
    path, mounted = _path(best.segment.paths)
    return Moment(
        path=path,
        video_id=best.segment.video_id,
        start_s=group[0].segment.start_s,
        end_s=group[-1].segment.end_s,
        score=best.score,
        why=best.why,
        snippet=_snippet(best),
        best_s=best.best_s,
        mounted=mounted,
    )


def _path(paths: Sequence[Path]) -> tuple[Path, bool]:
    """The copy that can be played now, or the first."""
    present = next((path for path in paths if path.exists()), None)
    return present or paths[0], present is not None


def _snippet(item: _Scored) -> str:
    """What is said there, around the words that fit best."""
    if item.best_utterance is None:
        return ""
    chosen = [item.best_utterance]
    length, i = len(item.utterances[item.best_utterance].text), item.best_utterance + 1
    while i < len(item.utterances) and (length := length + len(item.utterances[i].text)) < SNIPPET_CHARACTERS:
        chosen.append(i)
        i += 1
    return " ".join(item.utterances[j].text for j in chosen)
