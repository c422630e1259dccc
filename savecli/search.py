"""Query -> moments: nearest rows of each modality, scored exactly, neighbours joined."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log1p
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from savecli.datatypes import Ask, Moment, Results, Utterance
from savecli.errors import QueryError
from savecli.store import Kind, Store, StoredSegment

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from savecli.model.encode import Query
    from savecli.model.score import Score

    Rows = NDArray[np.float32]

N_CANDIDATES = 200
ROWS: tuple[Kind, ...] = ("seen", "frames", "said")
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


def empty_query() -> QueryError:
    """What to raise where a query, or what one modality should answer to, is blank."""
    return QueryError("the query is empty", hint='save search "man says good boy"')


def search(
    ask: Ask | str, store: Store, encoder: QueryEncoder, *, top_k: int = 10, threshold: float | None = None
) -> Results:
    """The moments that answer a query.

    Args:
        ask: what is looked for; a string is its free text.
        store: open for reading or writing.
        encoder: of the model that made the store.
        top_k: how many moments.
        threshold: score below which nothing matches; None takes the model's own, 0 shows all.

    Raises:
        QueryError: nothing is asked, or one of the texts is blank.
    """
    ask = Ask(text=ask) if isinstance(ask, str) else ask
    given = [text for text in (ask.text, ask.sees, ask.hears, ask.says) if text]
    if not given or not all(text.strip() for text in given):
        raise empty_query()
    least = encoder.score.threshold if threshold is None else threshold
    with store.snapshot():
        scored, exact = _score(encoder.query(given[0]), store, encoder.score)
    moments = [_moment(group) for group in _groups(scored)]
    moments.sort(key=lambda m: (-m.score, str(m.path), m.start_s))
    kept = tuple(m for m in moments if m.score >= least)[:top_k]
    below = next((m for m in moments if m.score < least), None)
    return Results(moments=kept, nearest=below, exact=exact)


def _score(query: Query, store: Store, score: Score) -> tuple[list[_Scored], bool]:
    """Every candidate of either modality, scored exactly; whether all rows were candidates."""
    found: dict[int, None] = {}
    exact = True
    for hits in (
        store.nearest("seen", query.seen, N_CANDIDATES),
        store.nearest("said", query.said, N_CANDIDATES),
    ):
        found |= dict.fromkeys(hit.segment_id for hit in hits)
        exact &= store.last_search_exact
    seen, frames, said = (store.rows(kind, found) for kind in ROWS)
    times, spoken = store.frame_times(found), store.utterances(found)
    scored = []
    for segment in store.segments(found):
        i = segment.segment_id
        sight = _sight(query, score, seen[i], frames[i], times[i])
        speech = _speech(query, score, said[i], spoken[i])
        total, why = score.of({"seen": sight.chance, "said": speech.chance})
        best = speech if speech.chance > sight.chance else sight
        scored.append(
            _Scored(
                segment=segment,
                score=total,
                why=why,
                # What is said may have begun in the segment before.
                best_s=max(segment.start_s, best.best_s),
                utterances=spoken[i],
                best_utterance=speech.best_row,
            )
        )
    return scored, exact


class _Match(NamedTuple):
    """How well one modality of a segment meets the query, and with which row, at what time."""

    chance: float = 0.0
    best_row: int | None = None
    best_s: float = 0.0


def _sight(query: Query, score: Score, pooled: Rows, frames: Rows, times_s: NDArray[np.float64]) -> _Match:
    if not len(frames):
        return _Match()
    best = int((frames @ query.seen).argmax())
    return _Match(score.seen(score.seen_cosine(query.seen, pooled, frames)), best, float(times_s[best]))


def _speech(query: Query, score: Score, said: Rows, spoken: Sequence[Utterance]) -> _Match:
    if not len(said):
        return _Match()
    cosines = said @ query.said
    # The last row may stand for all utterances together; a time and a snippet come from one of them.
    best = int(cosines[: len(spoken)].argmax())
    return _Match(score.said(float(cosines.max())), best, spoken[best].start_s)


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
