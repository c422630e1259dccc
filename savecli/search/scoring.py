"""Segments and texts -> scores with their reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Protocol
from weakref import WeakKeyDictionary

import numpy as np

from savecli.datatypes import Ask, MediaSpec, Part, Terms
from savecli.model.score import MODALITIES, TERMS, Background, Candidates, Query, Score, Stack, Term
from savecli.model.words import content, mentioned
from savecli.store import Kind, Store

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = NDArray[np.float64]
    Near = Sequence[Mapping[str, float]]

LETTERS, LETTERS_EVIDENCE = 0.5, 2.0
"""How likely a segment is right by a name's letters alone, where that name is all that is asked; and the
evidence for it. Chosen, not learned: no other query is touched (benchmarks/RESULTS.md has what it does)."""
TINY = 1e-300
N_SAMPLE = 256
"""Segments of the library that tell how much of a query's evidence is luck."""


class QueryEncoder(Protocol):
    """The half of an encoder that a search needs."""

    score: Score
    spec: MediaSpec

    def queries(self, ask: Ask) -> list[Query]:
        """One query for each text that is asked."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Text:
    """One text of a query, as the score reads it, and how it fares in this library."""

    part: Part
    query: Query
    background: Background
    is_against: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answer:
    """How n segments answer.

    Attributes:
        why: (n, 3) what each modality adds to the score, which is their sum.
        evidence: (n,) beyond the library's middle.
        kept: (n,) 0..1, what is left of the score for what should not be there.
        best: see `Evidence`.
    """

    why: Values
    evidence: Values
    kept: Values
    best: Mapping[str, NDArray[np.int64]]

    @property
    def scores(self) -> Values:
        """(n,), in 0..1."""
        total: Values = self.why.sum(axis=1)
        return total


def read(ask: Ask, store: Store, encoder: QueryEncoder) -> list[Text]:
    """The texts of a query; the background of each is measured on a sample of the whole library."""
    library = sample(store, in_detail=False)
    texts = []
    for part, is_against in [(p, False) for p in ask.parts] + [(p, True) for p in ask.against]:
        (query,) = encoder.queries(aimed(part))
        usual = library.usual_by(encoder.score, tuple(query.rows))
        evidence = encoder.score.totals([query], library.candidates, usual)[0]
        background = encoder.score.background(query.aim, evidence, library.n_segments)
        texts.append(Text(part=part, query=query, background=background, is_against=is_against))
    return texts


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """Some segments of the library, and what is the same for each query.

    Attributes:
        revision: of the store that they are from.
        candidates: the segments.
        n_segments: how many the library has.
    """

    revision: int
    candidates: Candidates
    n_segments: int
    _usual: dict[tuple[Term, ...], tuple[Score, Values]] = field(default_factory=dict)

    def usual_by(self, rule: Score, terms: tuple[Term, ...]) -> Values:
        """`Score.usual` of the segments."""
        if terms not in self._usual or self._usual[terms][0] is not rule:
            self._usual[terms] = rule, rule.usual(terms, self.candidates)
        return self._usual[terms][1]


def sample(store: Store, *, in_detail: bool) -> Sample:
    """Some segments of the library; gathered once for each state of an open store."""
    kept = _SAMPLES.setdefault(store, {})
    if in_detail not in kept or kept[in_detail].revision != store.revision:
        ids, n_segments = store.sample(N_SAMPLE)
        candidates = gather(store, ids, in_detail=in_detail)
        kept[in_detail] = Sample(revision=store.revision, candidates=candidates, n_segments=n_segments)
    return kept[in_detail]


_SAMPLES: WeakKeyDictionary[Store, dict[bool, Sample]] = WeakKeyDictionary()


def aimed(part: Part) -> Ask:
    """A query of one text alone."""
    match part.aim:
        case "sees":
            return Ask(sees=part.text)
        case "hears":
            return Ask(hears=part.text)
        case "says":
            return Ask(says=part.text)
        case _:
            return Ask(text=part.text)


def gather(
    store: Store, ids: Sequence[int], *, texts: Sequence[Text] | None = None, in_detail: bool = True
) -> Candidates:
    """What the store has of these segments, stacked for the score.

    Args:
        store: open, in a snapshot.
        ids: of the segments.
        texts: what will be asked; nothing is told of words that are in none. None tells all words.
        in_detail: with the rows of frames and the parts of the fused rows, two thirds of all. Without them
            totals are those of the pooled rows, and reasons are not told.
    """
    stems = None if texts is None else {stem for text in texts for stem in text.query.words}
    spoken = store.texts_by_segment(ids) if stems is None or stems else {}
    read = content if stems is None else partial(mentioned, stems=stems)
    kinds: tuple[Kind, ...] = ("seen", "heard", "said", "fused", *(("frames", "parts") if in_detail else ()))
    stacks = {
        kind: Stack(rows, np.repeat(np.arange(len(ids)), counts))
        for kind, (rows, counts) in store.stacks(kinds, ids).items()
    }
    return Candidates(
        n=len(ids),
        seen=stacks["seen"],
        frames=stacks.get("frames"),
        heard=stacks["heard"],
        said=stacks["said"],
        fused=stacks["fused"],
        parts=stacks.get("parts", Stack.of([])),
        spoken=[frozenset(word for said in spoken.get(i, ()) for word in read(said)) for i in ids],
    )


def answer(
    texts: Sequence[Text], candidates: Candidates, rule: Score, near: Near, others: Sequence[Answer] = ()
) -> Answer:
    """How segments answer all texts together, and `others`: what should be there, and what should not."""
    wanted = [(t.part.weight, _one(t, candidates, rule, near)) for t in texts if not t.is_against]
    wanted += [(1.0, other) for other in others]
    joined = _join(wanted, candidates.n)
    kept = np.ones(candidates.n)
    for text in texts:
        if text.is_against:
            unwanted = _one(text, candidates, rule, near).scores
            kept *= _kept(joined.scores if wanted else None, unwanted, text.part.weight)
    return Answer(
        why=joined.why * kept[:, None], evidence=joined.evidence * kept, kept=kept, best=joined.best
    )


def _kept(wanted: Values | None, unwanted: Values, weight: float) -> Values:
    """(n,) how likely a segment is what is wanted and not what is unwanted, if it is one of both.

    By the odds of either: with -cat, what looks like a dog and a little like a cat stays, and a cat goes that
    looks a little like a dog. Where no text is wanted, it is the chance that it is not what is unwanted.
    """
    against = weight * unwanted / (1 - unwanted).clip(TINY)
    odds = 1.0 if wanted is None else wanted / (1 - wanted).clip(TINY)
    share: Values = odds / (odds + against).clip(TINY)
    return share


def _one(text: Text, candidates: Candidates, rule: Score, near: Near) -> Answer:
    found = rule.evidence(text.query, candidates)
    # Where nothing speaks for it at all, the score is nothing too: it must be the sum of its reasons.
    why = rule.chance(text.query.aim, found.total, text.background)[:, None] * found.shares
    letters = _letters(text, near)
    # Meaning and letters are two reasons: the chance that one of them at least is right.
    why[:, MODALITIES.index("said")] += LETTERS * letters * (1 - why.sum(axis=1))
    return Answer(
        why=why,
        evidence=np.maximum(0, found.total - text.background.median) + LETTERS_EVIDENCE * letters,
        kept=np.ones(candidates.n),
        best=found.best,
    )


def _letters(text: Text, near: Near) -> Values:
    """(n,) how much of a text is names that are said there, by their letters; 0 for a text without names."""
    stems = {stem for name in text.query.names for stem in content(name)}
    shares = [
        sum(text.query.words.get(stem, 0.0) * near_by for stem, near_by in one.items() if stem in stems)
        for one in near
    ]
    return np.array(shares, dtype=np.float64)


def _join(answers: Sequence[tuple[float, Answer]], n: int) -> Answer:
    """Several texts must all be met: the geometric mean of their scores by weight, shared out by weight.

    What aims at a modality tells where in the segment it is.
    """
    if not answers:
        return Answer(why=np.zeros((n, len(MODALITIES))), evidence=np.zeros(n), kept=np.ones(n), best={})
    if len(answers) == 1:
        return answers[0][1]
    weights = np.array([weight for weight, _ in answers]) / sum(weight for weight, _ in answers)
    scores = np.stack([one.scores for _, one in answers])
    together = np.exp(weights @ np.log(scores.clip(TINY)))
    shares = np.stack([one.why / one.why.sum(axis=1, keepdims=True).clip(TINY) for _, one in answers])
    best: dict[str, NDArray[np.int64]] = {}
    for _, one in answers:
        best |= one.best
    return Answer(
        why=together[:, None] * np.tensordot(weights, shares, axes=1),
        evidence=np.sum([one.evidence for _, one in answers], axis=0),
        kept=np.ones(n),
        best=best,
    )


def explain(
    texts: Sequence[Text], candidates: Candidates, rule: Score, near: Near
) -> list[tuple[Terms, ...]]:
    """For each segment, what each text found there; see `Terms`."""
    by_text = [_terms(text, candidates, rule, near) for text in texts]
    return [tuple(terms[i] for terms in by_text) for i in range(candidates.n)]


def _terms(text: Text, candidates: Candidates, rule: Score, near: Near) -> list[Terms]:
    rows = {term: row[np.newaxis] for term, row in text.query.rows.items()}
    cosines = {term: values[0] for term, values in rule.cosines(rows, candidates).items()}
    found, own = rule.evidence(text.query, candidates), _one(text, candidates, rule, near)
    background, letters = text.background, _letters(text, near)
    return [
        Terms(
            text=text.part.text,
            aim=text.part.aim,
            weight=text.part.weight,
            is_against=text.is_against,
            cosines={t: float(cosines[t][i]) for t in TERMS if t in cosines and np.isfinite(cosines[t][i])},
            words=sum(worth for word, worth in text.query.words.items() if word in candidates.spoken[i]),
            letters=float(letters[i]),
            evidence=_named(found.by_modality[i]),
            usual=_named(found.usual[i]),
            background=(background.median, background.spread, background.n_segments),
            score=float(own.scores[i]),
        )
        for i in range(candidates.n)
    ]


def _named(values: Values) -> dict[str, float]:
    return dict(zip(MODALITIES, values.tolist(), strict=True))
