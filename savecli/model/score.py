"""How well a segment answers a query, and why.

Four cosines speak for a segment: of what is seen, of what is heard, of what is said (to which exact words
add), and of the row that the gated fusion made of all three. Each goes through a soft step, `softplus`,
into evidence, and the evidence adds up: a sum where several modalities meet the query, much like the maximum
where one does, because a cosine below its step counts for little. Steps and weights were learned on
videos that no part of the model had seen (weights/save-mini/CARD.md).

Some segments fit every query a little: long talk, busy pictures. So what a cohort of other queries finds in a
segment, on average, is taken off what this one finds there, as speaker verification does with its scores
(Auckenthaler et al. 2000, test normalisation) and QB-Norm with those of videos (Bogolin et al. 2022).

The fused row is a sum of what each modality put into it (`Embedding.parts`), so its evidence is shared out
among them, and the contributions of seen, heard and said add up to the score exactly.

Evidence becomes a chance by comparison with the library itself: a query that fits everything a little
spreads wide over the library, and the best of many segments is high by luck. So a threshold means the
same in a library of ten clips and of ten thousand.

Shapes: n segments, R rows, D embedding, Q queries. numpy only: a search imports no torch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.float32]
    Values = NDArray[np.float64]

Term = Literal["seen", "heard", "said", "fused"]
Aim = Literal["seen", "heard", "said", "fused", "any"]
TERMS: tuple[Term, ...] = ("seen", "heard", "said", "fused")
CALIBRATED: tuple[Aim, ...] = ("any", "seen", "heard", "said")
MODALITIES: tuple[Term, ...] = ("seen", "heard", "said")
ABSENT = -np.inf
QUERIES_AT_ONCE = 64  # of a block, so that what is held beside the result stays small


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Query:
    """A text as the score reads it.

    Attributes:
        text: what was asked.
        rows: (D,) float32 unit rows, for each term that is asked.
        words: its content words, by stem, with their share of the whole; for what is said.
        names: those that the text encoder knows by their letters alone, as they were typed.
    """

    text: str
    rows: Mapping[Term, Rows]
    words: Mapping[str, float] = field(default_factory=dict)
    names: Sequence[str] = ()

    @property
    def aim(self) -> Aim:
        """The one modality that is asked, or "any"."""
        return next(iter(self.rows)) if len(self.rows) == 1 else "any"


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """Rows of n segments on one another: (R, D), and (R,) the place of the segment of each, ascending."""

    rows: Rows
    owners: NDArray[np.int64]

    @classmethod
    def of(cls, rows: Sequence[Rows]) -> Self:
        """The rows of each segment, in order of the segments."""
        counts = [len(r) for r in rows]
        stacked = np.concatenate(rows) if rows else np.zeros((0, 0), np.float32)
        return cls(stacked, np.repeat(np.arange(len(rows)), counts))

    def runs(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """The segments that have rows, where the rows of each begin, and how many they are: (M,) each."""
        # numpy.unique says as much, and like numpy.quantile imports numpy.ma for it: 15 ms of a new process.
        first = np.flatnonzero(np.diff(self.owners, prepend=-1))
        return self.owners[first], first, np.diff(first, append=len(self.owners))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidates:
    """What is known of n segments; kinds as in `Embedding`.

    Attributes:
        frames: None to judge by the pooled rows alone.
        spoken: the content words of each segment.
    """

    n: int
    seen: Stack
    frames: Stack | None
    heard: Stack
    said: Stack
    fused: Stack
    parts: Stack
    spoken: Sequence[frozenset[str]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evidence:
    """For a query and n segments.

    Attributes:
        by_modality: (n, 3) what seen, heard and said speak for each segment, beyond `usual`.
        usual: (n, 3) what they speak for it when the cohort asks; not negative, nor is the sum of both.
        best: by kind ("frames", "heard", "said"), (n,) the place in its segment of the row that speaks most;
            -1 for none.
    """

    by_modality: Values
    usual: Values
    best: Mapping[str, NDArray[np.int64]]

    @property
    def total(self) -> Values:
        """(n,), what a ranking goes by; negative where usually more is found."""
        total: Values = self.by_modality.sum(axis=1)
        return total

    @property
    def shares(self) -> Values:
        """(n, 3), each modality's share of what speaks for a segment; rows of zeros where nothing does."""
        beyond = self.by_modality.clip(0)
        # What is found everywhere is a poor reason, but the only one where nothing goes beyond it.
        found = np.where(beyond.any(axis=1, keepdims=True), beyond, self.by_modality + self.usual)
        total = found.sum(axis=1, keepdims=True)
        shares: Values = np.divide(found, total, out=np.zeros_like(found), where=total > 0)
        return shares


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """cosine -> evidence: ``weight * softplus(slope * (cosine - centre))``."""

    slope: float
    centre: float
    weight: float

    def __call__(self, cosines: Values) -> Values:
        """(n,) -> (n,); what is not there, ABSENT, is no evidence."""
        x = self.slope * (cosines - self.centre)
        # As numpy.logaddexp(0, x), which has no vector instructions: fifteen times as fast.
        result: Values = self.weight * (np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))))
        return result


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Evidence -> chance: ``logistic(gain * evidence - crowd * log n - spread * s - level * m + bias)``.

    Attributes:
        prior_median, prior_spread: m and s without a library; they count as `prior_n` segments.
    """

    gain: float
    crowd: float
    spread: float
    level: float
    bias: float
    prior_median: float
    prior_spread: float
    prior_n: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Background:
    """A query's evidence over a library: middle, how far above it the upper tenth is, segments in all."""

    median: float
    spread: float
    n_segments: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """The scoring rule of a model.

    Attributes:
        steps: of each term.
        words: what all words of a query add to the cosine of what is said.
        sharpness: of the soft maximum over frames; larger is nearer to the maximum.
        calibrations: one for each of CALIBRATED.
        threshold: below this score a person is better told that nothing matches.
        cohort: (Q, D) rows of other queries, for each term; empty for none.
    """

    steps: Mapping[Term, Step]
    words: float
    sharpness: float
    calibrations: Mapping[Aim, Calibration]
    threshold: float
    cohort: Mapping[Term, Rows] = field(default_factory=dict)

    @classmethod
    def from_json(cls, record: Mapping[str, Any], cohort: Mapping[Term, Rows]) -> Self:
        """What `model.json` has under "score", and the cohort.

        Raises:
            TypeError, KeyError: where something is missing or unknown.
        """
        steps: dict[Term, Step] = {term: Step(**record["steps"][term]) for term in TERMS}
        rest = {name: record[name] for name in ("words", "sharpness", "threshold")}
        calibrations = {aim: Calibration(**record["calibrations"][aim]) for aim in CALIBRATED}
        return cls(steps=steps, calibrations=calibrations, cohort=cohort, **rest)

    def evidence(self, query: Query, candidates: Candidates, usual: Values | None = None) -> Evidence:
        """What speaks for each candidate.

        Args:
            query: the text.
            candidates: n segments.
            usual: what `usual` says of these candidates and the query's terms, where that is known already.
        """
        usual = self.usual(tuple(query.rows), candidates) if usual is None else usual
        found = self._found(*_matrices([query], candidates), candidates)
        best = {
            kind: _places(stack, query.rows[term], candidates.n)
            for kind, term, stack in _told(candidates)
            if term in query.rows
        }
        return Evidence(by_modality=found[0] - usual, usual=usual, best=best)

    def totals(self, queries: Sequence[Query], candidates: Candidates, usual: Values | None = None) -> Values:
        """(Q, n), `Evidence.total` of queries that all ask the same terms."""
        usual = self.usual(tuple(queries[0].rows), candidates) if usual is None else usual
        blocks = [queries[i : i + QUERIES_AT_ONCE] for i in range(0, len(queries), QUERIES_AT_ONCE)]
        found = [self._found(*_matrices(block, candidates), candidates).sum(axis=2) for block in blocks]
        totals: Values = np.concatenate(found) - usual.sum(axis=1)
        return totals

    def usual(self, terms: Sequence[Term], candidates: Candidates) -> Values:
        """(n, 3), what the cohort finds by these terms in each candidate, on average over its queries."""
        rows = {term: self.cohort[term] for term in terms if term in self.cohort}
        mean = np.zeros((candidates.n, len(MODALITIES)))
        for place, found in self._pieces(rows, None, candidates):
            mean[:, place] += found.mean(axis=0)
        return mean

    def cosines(
        self, rows: Mapping[Term, Rows], candidates: Candidates, exact: Values | None = None
    ) -> dict[Term, Values]:
        """(Q, D) rows by term -> (Q, n) cosines by term, ABSENT where a segment has none.

        `exact` is (Q, n), the share of each query's words that each segment speaks; it adds to "said".
        """
        cosines: dict[Term, Values] = {}
        if "seen" in rows:
            cosines["seen"] = self._seen(rows["seen"], candidates)
        stacks: Mapping[Term, Stack] = {
            "heard": candidates.heard,
            "said": candidates.said,
            "fused": candidates.fused,
        }
        for term, stack in stacks.items():
            if term in rows:
                cosines[term] = _highest(stack, rows[term], candidates.n)
        if exact is not None and "said" in cosines:
            cosines["said"] = cosines["said"] + self.words * exact
        return cosines

    def _found(self, rows: Mapping[Term, Rows], exact: Values | None, candidates: Candidates) -> Values:
        """(Q, n, 3), not negative; see `cosines`."""
        n_queries = len(next(iter(rows.values())))
        by_modality = np.zeros((len(MODALITIES), n_queries, candidates.n))  # in this order it is quickest
        for place, found in self._pieces(rows, exact, candidates):
            by_modality[place] += found
        return np.moveaxis(by_modality, 0, 2)

    def _pieces(
        self, rows: Mapping[Term, Rows], exact: Values | None, candidates: Candidates
    ) -> Iterator[tuple[int, Values]]:
        """What each term finds, (Q, n), and the place of the modality that it speaks for."""
        for term, cosines in self.cosines(rows, candidates, exact).items():
            found = self.steps[term](cosines)
            if term != "fused":
                yield MODALITIES.index(term), found
            else:
                shares = _shares(rows[term], candidates.parts, candidates.n)
                yield from ((place, found * share) for place, share in enumerate(shares))

    def _seen(self, rows: Rows, candidates: Candidates) -> Values:
        """Half the pooled row's cosine, half the soft maximum over frames, as in SAVE section 3.4."""
        pooled = _highest(candidates.seen, rows, candidates.n)
        frames = candidates.frames
        if frames is None or not len(frames.rows):
            return pooled
        there, first, counts = frames.runs()
        local = frames.rows @ rows.T
        top = _tops(local, first, counts)
        raised = np.exp(self.sharpness * (local - np.repeat(top, counts, axis=0)))
        means = np.add.reduceat(raised, first, axis=0) / counts[:, None]
        soft = np.full_like(pooled, ABSENT)
        soft[:, there] = (top + np.log(means) / self.sharpness).T
        return (pooled + soft) / 2

    def background(self, aim: Aim, evidence: Values, n_segments: int) -> Background:
        """From a query's evidence for some segments of a library, (n,), and how many it holds in all."""
        prior, n = self.calibrations[aim], len(evidence)
        places = np.linspace(0, 1, n)
        middle, high = np.interp((0.5, 0.9), places, np.sort(evidence)) if n else (prior.prior_median, 0.0)
        trust = n / (n + prior.prior_n)
        return Background(
            median=trust * float(middle) + (1 - trust) * prior.prior_median,
            spread=trust * float(high - middle) + (1 - trust) * prior.prior_spread,
            n_segments=n_segments,
        )

    def chance(self, aim: Aim, evidence: Values, background: Background) -> Values:
        """(n,) evidence -> (n,) scores in 0..1: how likely a right answer, in a library like this."""
        c = self.calibrations[aim]
        luck = c.crowd * np.log(max(background.n_segments, 1)) + c.spread * background.spread
        logits = c.gain * evidence - luck - c.level * background.median + c.bias
        # In logarithms: two answers that are both nearly certain, or both hopeless, still differ.
        result: Values = np.exp(-np.logaddexp(0, -logits))
        return result


def _told(candidates: Candidates) -> tuple[tuple[str, Term, Stack | None], ...]:
    """The kinds of rows that tell when in its segment a query is met, and the terms that read them."""
    return (
        ("frames", "seen", candidates.frames),
        ("heard", "heard", candidates.heard),
        ("said", "said", candidates.said),
    )


def _matrices(queries: Sequence[Query], candidates: Candidates) -> tuple[dict[Term, Rows], Values | None]:
    """What `Score.cosines` reads: the rows by term, and what share of each query's words is spoken where."""
    rows = {term: np.stack([query.rows[term] for query in queries]) for term in queries[0].rows}
    if not any(query.words for query in queries):
        return rows, None
    where: defaultdict[str, list[int]] = defaultdict(list)
    for place, spoken in enumerate(candidates.spoken):
        for word in spoken:
            where[word].append(place)
    exact = np.zeros((len(queries), candidates.n))
    for share, query in zip(exact, queries, strict=True):
        for word, worth in query.words.items():
            share[where.get(word, [])] += worth
    return rows, exact


def _highest(stack: Stack, rows: Rows, n: int) -> Values:
    """(Q, D) -> (Q, n), the highest cosine of each segment; ABSENT where it has no row."""
    values = np.full((len(rows), n), ABSENT)
    if len(stack.rows):
        owners, first, counts = stack.runs()
        values[:, owners] = _tops(stack.rows @ rows.T, first, counts).T
    return values


def _tops(cosines: Rows, first: NDArray[np.int64], counts: NDArray[np.int64]) -> Rows:
    """(R, Q) -> (M, Q), the highest of each run of rows; see `Stack.runs`."""
    tops = cosines[first]
    for place in range(1, counts.max()):  # numpy.maximum.reduceat says as much, in twenty times the time
        more = counts > place
        tops[more] = np.maximum(tops[more], cosines[first[more] + place])
    return tops


def _places(stack: Stack | None, row: Rows, n: int) -> NDArray[np.int64]:
    """(n,) the place in its segment of the row that is nearest; of equal rows the first; -1 for none."""
    places = np.full(n, -1)
    if stack is None or not len(stack.rows):
        return places
    cosines = stack.rows @ row
    owners, first, counts = stack.runs()
    order = np.lexsort((-np.arange(len(cosines)), cosines, stack.owners))
    places[owners] = order[first + counts - 1] - first
    return places


def _shares(rows: Rows, parts: Stack, n: int) -> Sequence[Values]:
    """For each modality (Q, n), the share of the fused cosine that it brought; what is against it: none."""
    # Where nothing speaks for it, what little evidence there is belongs to the frames that were fused.
    if not len(parts.rows):
        return [np.ones((len(rows), n))]
    brought = np.zeros((len(MODALITIES), len(rows), n))
    for place in range(len(MODALITIES)):
        brought[place][:, parts.owners[::3]] = np.maximum(0, rows @ parts.rows[place::3].T)
    total = brought.sum(axis=0)
    shares: Values = np.divide(brought, total, out=np.zeros_like(brought), where=total > 0)
    shares[0][total <= 0] = 1
    return list(shares)
