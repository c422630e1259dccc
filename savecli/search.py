"""Query -> moments: nearest rows of each modality, scored exactly, neighbours joined."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from savecli.datatypes import Ask, MediaSpec, Moment, Results, Utterance
from savecli.errors import QueryError
from savecli.media.volumes import Volumes, absent
from savecli.model import likeness
from savecli.model.likeness import Example
from savecli.model.score import MODALITIES, TERMS, Candidates, Query, Score, Stack
from savecli.model.words import content
from savecli.store import Kind, Store, StoredSegment

if TYPE_CHECKING:
    from numpy.typing import NDArray

N_CANDIDATES = 200
N_SAMPLE = 256
"""Segments of the library that tell how much of a query's evidence is luck."""
JOIN_SHARE = 0.6  # a neighbour belongs to a moment if its evidence is at least this share of the best's
SNIPPET_CHARACTERS = 160


class QueryEncoder(Protocol):
    """The half of an encoder that a search needs."""

    score: Score
    spec: MediaSpec

    def queries(self, ask: Ask) -> list[Query]:
        """One query for each text that is asked."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scored:
    """A segment with its score, and where in it the query is met best.

    Attributes:
        evidence: beyond what the middle of the library has.
    """

    segment: StoredSegment
    score: float
    evidence: float
    why: Mapping[str, float]
    best_s: float
    utterances: tuple[Utterance, ...]
    best_utterance: int | None


def empty_query() -> QueryError:
    """What to raise where a query, or what one modality should answer to, is blank."""
    return QueryError("the query is empty", hint='save search "man says good boy"')


def search(
    ask: Ask | str,
    store: Store,
    encoder: QueryEncoder,
    *,
    top_k: int = 10,
    threshold: float | None = None,
    example: Example | None = None,
    look: Callable[[], Volumes] = Volumes,
) -> Results:
    """The moments that answer a query.

    Args:
        ask: what is looked for; a string is its free text.
        store: open for reading or writing.
        encoder: of the model that made the store.
        top_k: how many moments.
        threshold: score below which nothing matches; None takes the model's own, 0 shows all.
        example: what the moments are to be like, besides; it is no answer to itself.
        look: what is mounted.

    Raises:
        QueryError: nothing is asked, or one of the texts is blank.
    """
    ask = Ask(text=ask) if isinstance(ask, str) else ask
    given = [text for text in (ask.text, ask.sees, ask.hears, ask.says) if text]
    if not (given or example) or not all(text.strip() for text in given):
        raise empty_query()
    least = _threshold(encoder.score, bool(given), example) if threshold is None else threshold
    with store.snapshot():
        scored, looked = _score(encoder.queries(ask) if given else [], store, encoder, example)
    moments = [_moment(group) for group in _groups(scored)]
    moments.sort(key=lambda m: (-m.score, str(m.path), m.start_s))
    kept = tuple(_located(m, store, look) for m in [m for m in moments if m.score >= least][:top_k])
    below = next((m for m in moments if m.score < least), None)
    return Results(moments=kept, nearest=below, exact=looked.exact, lacked_graph=looked.lacked_graph)


@dataclass(slots=True, kw_only=True)
class _Looked:
    """How the candidates were found; see `Results`."""

    exact: bool = True
    lacked_graph: bool = False


def _threshold(rule: Score, has_text: bool, example: Example | None) -> float:
    """Scores of text and example are joined by their geometric mean, and so are their thresholds."""
    own = [rule.threshold] if has_text else []
    own += [likeness.THRESHOLD] if example else []
    return float(np.exp(np.log(own).mean()))


def _score(
    queries: Sequence[Query], store: Store, encoder: QueryEncoder, example: Example | None
) -> tuple[list[_Scored], _Looked]:
    """Every candidate of any modality, scored exactly; and whether all rows were candidates."""
    found: dict[int, None] = {}
    looked = _Looked()
    asked = [(term, query.rows[term]) for query in queries for term in TERMS if term in query.rows]
    for term, row in [*asked, *(example.asks() if example else [])]:
        hits = store.nearest(term, row, N_CANDIDATES)
        found |= dict.fromkeys(hit.segment_id for hit in hits)
        looked.exact &= store.last_search_exact
        looked.lacked_graph |= store.last_search_lacked_graph
    sampled, n_segments = store.sample(N_SAMPLE)
    library = gather(store, sampled, store.utterances(sampled), frames=False)
    ids = sorted(found.keys() - (_own(example, store) if example else set()))
    times, spoken = store.frame_times(ids), store.utterances(ids)
    candidates = gather(store, ids, spoken)
    answers = [_answer(query, candidates, library, n_segments, encoder.score) for query in queries]
    if example is not None:
        shown = gather(store, sampled, store.utterances(sampled))
        answers.append(_alike(example, candidates, shown))
    joined = _join(answers)
    rows = [query.rows["said"][None] for query in queries if "said" in query.rows]
    rows += [example.rows["said"]] if example and "said" in example.rows and not rows else []
    said = _best_utterances(rows, candidates.said, [len(spoken[i]) for i in ids])
    scored = []
    for i, segment in enumerate(store.segments(ids)):
        why: dict[str, float] = dict(zip(MODALITIES, joined.why[i].tolist(), strict=True))
        utterances = spoken[segment.segment_id]
        places = {kind: int(place[i]) for kind, place in joined.best.items()} | {"said": said[i]}
        scored.append(
            _Scored(
                segment=segment,
                score=sum(why.values()),
                evidence=float(joined.evidence[i]),
                why=why,
                best_s=_best_s(segment, why, places, times[segment.segment_id], utterances, encoder.spec),
                utterances=utterances,
                best_utterance=said[i] if said[i] >= 0 else None,
            )
        )
    return scored, looked


def gather(
    store: Store, ids: Sequence[int], spoken: Mapping[int, Sequence[Utterance]], *, frames: bool = True
) -> Candidates:
    """What the store has of these segments, stacked for the score; `spoken` as `Store.utterances` has it."""

    def stack(kind: Kind) -> Stack:
        rows = store.rows(kind, ids)
        return Stack.of([rows[i] for i in ids])

    return Candidates(
        n=len(ids),
        seen=stack("seen"),
        frames=stack("frames") if frames else None,
        heard=stack("heard"),
        said=stack("said"),
        fused=stack("fused"),
        parts=stack("parts"),
        spoken=[frozenset(word for u in spoken[i] for word in content(u.text)) for i in ids],
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Answer:
    """How n segments answer.

    Attributes:
        why: (n, 3) what each modality adds to the score, which is their sum.
        evidence: (n,) beyond the library's middle.
        best: see `Evidence`.
    """

    why: NDArray[np.float64]
    evidence: NDArray[np.float64]
    best: Mapping[str, NDArray[np.int64]]


def _answer(
    query: Query, candidates: Candidates, library: Candidates, n_segments: int, rule: Score
) -> _Answer:
    background = rule.background(query.aim, rule.evidence(query, library).total, n_segments)
    found = rule.evidence(query, candidates)
    # Where nothing speaks for it at all, the score is nothing too: it must be the sum of its reasons.
    return _Answer(
        why=rule.chance(query.aim, found.total, background)[:, None] * found.shares,
        evidence=np.maximum(0, found.total - background.median),
        best=found.best,
    )


def _alike(example: Example, candidates: Candidates, library: Candidates) -> _Answer:
    found = likeness.likeness(example, candidates, library)
    return _Answer(why=found.shares, evidence=found.shares.sum(axis=1), best=found.best)


def _own(example: Example, store: Store) -> set[int]:
    """The segments that the example itself is made of."""
    segments = store.stored_segments(example.video_id) if example.video_id else []
    return {s.segment_id for s in segments if s.start_s < example.end_s and s.end_s > example.start_s}


def _join(answers: Sequence[_Answer]) -> _Answer:
    """Several texts asked at once must all be met: the geometric mean of their scores, shared out evenly.

    What aims at a modality tells where in the segment it is.
    """
    if len(answers) == 1:
        return answers[0]
    scores = np.stack([one.why.sum(axis=1) for one in answers])
    together = np.exp(np.log(scores.clip(1e-300)).mean(axis=0))
    shares = np.mean([one.why / one.why.sum(axis=1, keepdims=True).clip(1e-300) for one in answers], axis=0)
    best: dict[str, NDArray[np.int64]] = {}
    for one in answers:
        best |= one.best
    return _Answer(
        why=together[:, None] * shares, evidence=np.sum([one.evidence for one in answers], axis=0), best=best
    )


def _best_utterances(asked: Sequence[NDArray[np.float32]], said: Stack, n_spoken: Sequence[int]) -> list[int]:
    """The place of the utterance in each segment that fits best, -1 for none; the first if none is asked for.

    Each of `asked` is (R, D). The last row of a segment may stand for all utterances together; a time and a
    snippet come from one of them.
    """
    if not asked or not len(said.rows):
        return [0 if n else -1 for n in n_spoken]
    cosines = (said.rows @ asked[-1].T).max(axis=1)
    firsts = np.searchsorted(said.owners, np.arange(len(n_spoken)))
    lasts = np.searchsorted(said.owners, np.arange(len(n_spoken)), side="right")
    alone = [cosines[f:last][:n] for f, last, n in zip(firsts, lasts, n_spoken, strict=True)]
    return [int(values.argmax()) if len(values) else -1 for values in alone]


def _best_s(
    segment: StoredSegment,
    why: Mapping[str, float],
    places: Mapping[str, int],
    times_s: NDArray[np.float64],
    utterances: Sequence[Utterance],
    spec: MediaSpec,
) -> float:
    """When the modality that speaks most for the segment does so."""
    times = {
        "seen": times_s,
        "heard": segment.start_s + spec.sound_hop_s * np.arange(segment.n_heard),
        "said": np.array([u.start_s for u in utterances]),
    }
    kinds = {"seen": "frames", "heard": "heard", "said": "said"}
    for name in sorted(why, key=lambda name: -why[name]):
        place = min(places.get(kinds[name], -1), len(times[name]) - 1)
        if place >= 0:
            # What is said may have begun in the segment before.
            return max(segment.start_s, float(times[name][place]))
    return segment.start_s


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


def _located(moment: Moment, store: Store, look: Callable[[], Volumes]) -> Moment:
    """The moment with the drive that its video is on, if that is why it cannot be played."""
    if moment.mounted:
        return moment
    video = store.named(moment.video_id)
    files = store.files(video.paths if video else ())
    away = absent({path: file.volume for path, file in files.items()}, look())
    path, drive = next(((path, drive) for path, drive in away.items() if drive), (moment.path, ""))
    return replace(moment, path=path, drive=drive)


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
