"""Query -> moments: candidates of each modality, or where exact words are said; scored, joined, shown."""

from __future__ import annotations

import functools
import os
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from savecli import query as language
from savecli.datatypes import Ask, Moment, Results, Show, Where
from savecli.errors import QueryError
from savecli.media.scan import whole
from savecli.media.volumes import Volumes
from savecli.model.likeness import Example
from savecli.model.score import MODALITIES, TERMS, Candidates, Stack
from savecli.search import alike, bounds, exact, moments, names, snippet
from savecli.search.alike import Alike
from savecli.search.moments import Draft, Scored
from savecli.search.scoring import Answer, QueryEncoder, Text, answer, explain, gather, read
from savecli.store import Store, StoredSegment, StoredVideo

if TYPE_CHECKING:
    from numpy.typing import NDArray

N_CANDIDATES = 200
N_FINAL, FINAL_SHARE = 120, 8
"""Candidates whose every frame is looked at: so many, or so many for each moment that is shown. The others
lost by their pooled rows. Of 35 queries among 20,000 segments none lost one of its first ten videos so."""
MOST_IN_VIDEO = 5
"""Moments of one video, where results are grouped by video."""
EXACT_SHARE = 0.5
"""Of the score, for exact words that are said, where something else is asked too; all of it, where not."""
ENOUGH_PLACES = 1000
MOST_BELOW = 10


def search(
    ask: Ask | str,
    store: Store,
    encoder: QueryEncoder | None,
    *,
    top_k: int = 10,
    threshold: float | None = None,
    show: Show | None = None,
    example: Example | None = None,
    look: Callable[[], Volumes] = Volumes,
) -> Results:
    """The moments that answer a query.

    Args:
        ask: what is looked for; a string is its free text, whatever it holds.
        store: open for reading or writing.
        encoder: of the model that made the store; None where nothing but exact words is asked.
        top_k: how many moments.
        threshold: score below which nothing matches; None takes the model's own, 0 shows all.
        show: more of the same; it goes before `top_k` and `threshold`.
        example: what the moments are to be like, besides; it is no answer to itself.
        look: what is mounted.

    Raises:
        QueryError: nothing is asked, one of the texts is blank, a regular expression never ends, or `show`
            makes no sense.
    """
    ask = Ask(text=ask) if isinstance(ask, str) else ask
    if example is not None:
        ask = replace(ask, like=example.name)
    language.require(ask)
    show = show or Show(top_k=top_k, threshold=threshold)
    _check(show)
    below = dict.fromkeys(name for path in ask.where.below for name in _names(path))
    ask = replace(ask, where=replace(ask.where, below=tuple(below)))
    with store.snapshot():
        return _Search(ask, store, encoder, show, example, look).run()


def _check(show: Show) -> None:
    if show.top_k < 1:
        raise QueryError(f"{show.top_k} moments cannot be shown", hint="1 is the least")
    if show.threshold is not None and not 0 <= show.threshold <= 1:
        raise QueryError(f"no score is at least {show.threshold}", hint="a threshold is from 0 to 1")


def _names(path: Path) -> tuple[Path, Path]:
    """The names that a file or folder may be stored by: without "..", and without links."""
    return whole(path), Path(os.path.realpath(path))


class _Search:
    """One search, inside a snapshot of the store."""

    def __init__(
        self,
        ask: Ask,
        store: Store,
        encoder: QueryEncoder | None,
        show: Show,
        example: Example | None,
        look: Callable[[], Volumes],
    ) -> None:
        self._ask = ask
        self._store = store
        self._encoder = encoder
        self._show = show
        self._look = functools.cache(look)  # once for all moments of an answer
        self._videos: Collection[int] | None = None
        self._texts: list[Text] = []
        self._alike = None if example is None else Alike.of(example, store)
        self._names = names.Names()
        self._named: dict[str, StoredVideo | None] = {}
        self._is_exact = True
        self._lacked_graph = False
        self._has_more = False

    def run(self) -> Results:
        if self._ask.where != Where():
            self._videos = self._store.select(self._ask.where).keys
        if self._encoder is not None:
            self._texts = (
                read(self._ask, self._store, self._encoder) if self._ask.parts or self._ask.against else []
            )
        drafts = self._said() if self._ask.is_exact else self._meant()
        drafts.sort(key=lambda draft: draft.order)
        own = self._threshold()
        least = own if self._show.threshold is None else self._show.threshold
        passed = [draft for draft in drafts if draft.place or draft.score >= least]
        below = (draft for draft in drafts if not draft.place and draft.score < least)
        chosen = self._chosen(passed)
        apart = (moments.beside(self._refined(draft), chosen) for draft in islice(below, MOST_BELOW))
        nearest = next((draft for draft in apart if draft is not None), None)
        return Results(
            moments=tuple(self._moment(draft) for draft in chosen),
            nearest=self._moment(nearest) if nearest else None,
            exact=self._is_exact,
            lacked_graph=self._lacked_graph,
            has_more=self._has_more,
            n_videos=None if self._videos is None else len(self._videos),
            threshold=0.0 if self._ask.is_exact else own,
        )

    def _threshold(self) -> float:
        text = self._encoder.score.threshold if self._encoder is not None else 0.0
        has_example = self._alike is not None
        return alike.threshold(text, has_text=bool(self._ask.parts), has_example=has_example)

    def _meant(self) -> list[Draft]:
        """Moments near to what the texts mean, and like the example."""
        wanted = [text.query.rows for text in self._texts if not text.is_against]
        rows = [(term, own[term]) for own in wanted for term in TERMS if term in own]
        found: dict[int, None] = {}
        asks = [*rows, *(self._alike.example.asks() if self._alike else [])]
        for hits in self._store.nearest_each(asks, N_CANDIDATES, videos=self._videos):
            found |= dict.fromkeys(hit.segment_id for hit in hits)
        self._is_exact = self._store.last_search_exact
        self._lacked_graph = self._store.last_search_lacked_graph
        self._names = names.look_up([t.query for t in self._texts], self._store, self._videos)
        found |= dict.fromkeys(self._names.segments)
        scored = self._scored(self._promising(sorted(found.keys() - self._own)))
        spoilt = self._spoilt(scored)
        return moments.joined([one for one in scored if one.segment.segment_id not in spoilt])

    def _promising(self, ids: list[int]) -> list[int]:
        """Those candidates that score best by their pooled rows, which are a tenth of all rows."""
        n_final = max(N_FINAL, FINAL_SHARE * self._show.top_k)
        if len(ids) <= n_final:
            return ids
        found = self._answer(ids, gather(self._store, ids, texts=self._texts, in_detail=False))
        best = np.lexsort((-found.evidence, -found.scores))[:n_final]
        return [ids[i] for i in np.sort(best)]

    def _answer(self, ids: Sequence[int], candidates: Candidates) -> Answer:
        """How these segments answer all texts and the example."""
        assert self._encoder is not None  # noqa: S101 - who asks for more than exact words has one
        candidates, near = self._names.told(ids, candidates), self._names.near(ids)
        others = [self._alike.answer(candidates)] if self._alike else []
        return answer(self._texts, candidates, self._encoder.score, near, others)

    @property
    def _own(self) -> frozenset[int]:
        """The segments that the example is made of."""
        return self._alike.own if self._alike else frozenset()

    def _scored(self, ids: Sequence[int]) -> list[Scored]:
        """These segments with what all texts, and the example, find in them."""
        assert self._encoder is not None  # noqa: S101 - who asks for more than exact words has one
        times, spoken = self._store.frame_times(ids), self._store.utterances(ids, timed=False)
        candidates = gather(self._store, ids, texts=self._texts)
        found = self._answer(ids, candidates)
        said = _best_utterances(self._said_rows(), candidates.said, [len(spoken[i]) for i in ids])
        scored = []
        for i, segment in enumerate(self._store.segments(ids)):
            why: dict[str, float] = dict(zip(MODALITIES, found.why[i].tolist(), strict=True))
            utterances = spoken[segment.segment_id]
            places = {kind: int(place[i]) for kind, place in found.best.items()} | {"said": said[i]}
            at_s = moments.best_s(
                segment, why, places, times[segment.segment_id], utterances, self._encoder.spec
            )
            scored.append(
                Scored(
                    segment=segment,
                    why=why,
                    evidence=float(found.evidence[i]),
                    kept=float(found.kept[i]),
                    best_s=at_s,
                    utterances=utterances,
                    best_utterance=said[i] if said[i] >= 0 else None,
                )
            )
        return scored

    def _said_rows(self) -> list[NDArray[np.float32]]:
        """(R, D) rows each of what is to be said; the last one tells where."""
        texts = [text.query.rows for text in self._texts if not text.is_against]
        example = [self._alike.example.rows] if self._alike else []
        return [own["said"].reshape(-1, own["said"].shape[-1]) for own in [*example, *texts] if "said" in own]

    def _spoilt(self, scored: Sequence[Scored]) -> set[int]:
        """Segments in which words are said that must not be."""
        if not self._ask.banned:
            return set()
        by_video: defaultdict[str, list[StoredSegment]] = defaultdict(list)
        for one in scored:
            by_video[one.segment.video_id].append(one.segment)
        return {
            segment.segment_id
            for place in self._banned(by_video)
            for segment in by_video[place.video_id]
            if place.start_s < segment.end_s and segment.start_s < place.end_s
        }

    def _banned(self, video_ids: Collection[str]) -> list[exact.Place]:
        keys = self._store.keys(video_ids)
        return [
            place
            for phrase in self._ask.banned
            for place in exact.find([phrase], [], self._store, most=None, videos=keys).places
        ]

    def _said(self) -> list[Draft]:
        """Moments in which the exact words are said, each as long as they are."""
        most = ENOUGH_PLACES if self._texts or self._alike else ENOUGH_PLACES // 10 + self._show.top_k
        found = exact.find(
            self._ask.phrases,
            self._ask.regexes,
            self._store,
            most=most,
            most_in_video=MOST_IN_VIDEO if self._show.by_video else exact.MAX_PLACES_IN_VIDEO,
            videos=self._videos,
        )
        self._has_more = found.has_more
        places = self._without_banned(found.places)
        drafts = [self._quoted(place) for place in places]
        drafts = [draft for draft in drafts if draft.best.segment_id not in self._own]
        return self._weighed(drafts) if self._texts or self._alike else drafts

    def _without_banned(self, places: Sequence[exact.Place]) -> list[exact.Place]:
        if not self._ask.banned:
            return list(places)
        by_video: defaultdict[str, list[exact.Place]] = defaultdict(list)
        for place in self._banned({place.video_id for place in places}):
            by_video[place.video_id].append(place)
        return [
            place
            for place in places
            if not any(b.start_s < place.end_s and place.start_s < b.end_s for b in by_video[place.video_id])
        ]

    def _quoted(self, place: exact.Place) -> Draft:
        segments = self._around(place)
        return Draft(
            segments=tuple(segments),
            best=segments[0],
            start_s=place.start_s,
            end_s=place.end_s,
            best_s=place.start_s,
            why={"seen": 0.0, "heard": 0.0, "said": 1.0},
            place=place,
        )

    def _snippet(self, place: exact.Place) -> snippet.Snippet:
        """The words around exact words."""
        first, last = place.marks[0].utterance, place.marks[-1].utterance
        utterances = self._store.utterances_from(place.video_id, first, last - first + 1)
        marks: list[list[tuple[int, int]]] = [[] for _ in utterances]
        for mark in place.marks:
            marks[mark.utterance - first].append((mark.start, mark.end))
        return snippet.quoted(utterances, marks)

    def _around(self, place: exact.Place) -> list[StoredSegment]:
        """The segments that a place touches; where it lies in none, one for itself."""
        segments = self._store.segments_within(place.video_id, place.start_s, place.end_s)
        if segments:
            return segments
        video = self._named.get(place.video_id) or self._store.named(place.video_id)
        self._named[place.video_id] = video
        alone = StoredSegment(
            segment_id=moments.NO_SEGMENT,
            video_id=place.video_id,
            paths=video.paths if video else (),
            start_s=place.start_s,
            end_s=place.end_s,
            n_seen=0,
            n_frames=0,
            n_said=0,
        )
        return [alone]

    def _weighed(self, drafts: Sequence[Draft]) -> list[Draft]:
        """Drafts of exact words with what the texts find there too, in the segment of each that fits best."""
        ids = sorted(
            {
                segment.segment_id
                for draft in drafts
                for segment in draft.segments
                if segment.segment_id != moments.NO_SEGMENT
            }
        )
        wanted = self._alike is not None or any(not text.is_against for text in self._texts)
        scored = {one.segment.segment_id: one for one in self._scored(ids)}
        weighed = []
        for draft in drafts:
            around = [scored[s.segment_id] for s in draft.segments if s.segment_id in scored]
            best = max(around, key=lambda one: one.score, default=None)
            if best is None:
                weighed.append(draft)
                continue
            share = EXACT_SHARE if wanted else 0.0
            why = {name: share * part for name, part in best.why.items()}
            why["said"] += (1 - share) * best.kept
            weighed.append(replace(draft, why=why, best=best.segment, scored=best))
        return weighed

    def _chosen(self, drafts: Sequence[Draft]) -> list[Draft]:
        """The drafts that are shown, best first or by video."""
        return moments.chosen(
            drafts,
            self._refined,
            store=self._store,
            top_k=self._show.top_k,
            per_video=MOST_IN_VIDEO if self._show.by_video else None,
            copies=self._show.copies,
        )

    def _moment(self, draft: Draft) -> Moment:
        if self._show.explain and draft.scored is not None and self._encoder is not None:
            ids = [draft.best.segment_id]
            candidates = self._names.told(ids, gather(self._store, ids, texts=self._texts))
            near = self._names.near(ids)
            (terms,) = explain(self._texts, candidates, self._encoder.score, near)
            like = self._alike.explain(candidates) if self._alike else []
            draft = replace(draft, terms=(*terms, *like))
        return moments.moment(draft, self._store, self._look, self._ask.where.below)

    def _refined(self, draft: Draft) -> Draft:
        """A draft with its ends, and what is said there; exact words have both."""
        if draft.place is not None:
            return replace(draft, snippet=self._snippet(draft.place))
        if draft.scored is None or self._encoder is None:
            return draft
        wanted = self._names.words | {
            word for text in self._texts if not text.is_against for word in text.query.words
        }
        best = draft.scored
        said = snippet.around(best.utterances, best.best_utterance, wanted)
        return bounds.refined(replace(draft, snippet=said), self._texts, self._store, self._encoder.score)


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
