"""How well a segment answers a query, and why.

Four cosines speak for a segment: of what is seen, of what is heard, of what is said (to which exact words
add), and of the row that the gated fusion made of all three. Each goes through a soft step, `softplus`,
into evidence, and the evidence adds up: a sum where several modalities meet the query, much like the maximum
where one does, because a cosine below its step counts for little. Steps and weights were learned on
videos that no part of the model had seen (weights/save-mini/CARD.md).

The fused row is a sum of what each modality put into it (`Embedding.parts`), so its evidence is shared out
among them, and the contributions of seen, heard and said add up to the score exactly.

Evidence becomes a chance by comparison with the library itself: a query that fits everything a little
spreads wide over the library, and the best of many segments is high by luck. So a threshold means the
same in a library of ten clips and of ten thousand.

Shapes: n segments, R rows, D embedding. numpy only: a search imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Query:
    """A text as the score reads it.

    Attributes:
        text: what was asked.
        rows: (D,) float32 unit rows, for each term that is asked.
        words: its content words, by stem, with their share of the whole; for what is said.
    """

    text: str
    rows: Mapping[Term, Rows]
    words: Mapping[str, float] = field(default_factory=dict)

    @property
    def aim(self) -> Aim:
        """The one modality that is asked, or "any"."""
        return next(iter(self.rows)) if len(self.rows) == 1 else "any"


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """Rows of n segments on one another: (R, D), and (R,) the place of the segment that each belongs to."""

    rows: Rows
    owners: NDArray[np.int64]

    @classmethod
    def of(cls, rows: Sequence[Rows]) -> Self:
        """The rows of each segment, in order of the segments."""
        counts = [len(r) for r in rows]
        stacked = np.concatenate(rows) if rows else np.zeros((0, 0), np.float32)
        return cls(stacked, np.repeat(np.arange(len(rows)), counts))


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
        by_modality: (n, 3) what seen, heard and said speak for each segment; not negative.
        best: by kind ("frames", "heard", "said"), (n,) the place in its segment of the row that speaks most;
            -1 for none.
    """

    by_modality: Values
    best: Mapping[str, NDArray[np.int64]]

    @property
    def total(self) -> Values:
        """(n,), what a ranking goes by."""
        total: Values = self.by_modality.sum(axis=1)
        return total


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """cosine -> evidence: ``weight * softplus(slope * (cosine - centre))``."""

    slope: float
    centre: float
    weight: float

    def __call__(self, cosines: Values) -> Values:
        """(n,) -> (n,); what is not there, ABSENT, is no evidence."""
        result: Values = self.weight * np.logaddexp(0, self.slope * (cosines - self.centre))
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
    """

    steps: Mapping[Term, Step]
    words: float
    sharpness: float
    calibrations: Mapping[Aim, Calibration]
    threshold: float

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """What `model.json` has under "score".

        Raises:
            TypeError, KeyError: where something is missing or unknown.
        """
        steps: dict[Term, Step] = {term: Step(**record["steps"][term]) for term in TERMS}
        rest = {name: record[name] for name in ("words", "sharpness", "threshold")}
        calibrations = {aim: Calibration(**record["calibrations"][aim]) for aim in CALIBRATED}
        return cls(steps=steps, calibrations=calibrations, **rest)

    def evidence(self, query: Query, candidates: Candidates) -> Evidence:
        """What speaks for each candidate."""
        cosines, best = self.cosines(query, candidates)
        found = {term: self.steps[term](values) for term, values in cosines.items()}
        by_modality = np.zeros((candidates.n, len(MODALITIES)))
        for column, modality in enumerate(MODALITIES):
            if modality in found:
                by_modality[:, column] = found[modality]
        if "fused" in found:
            shares = _shares(query.rows["fused"], candidates.parts, candidates.n)
            by_modality += found["fused"][:, None] * shares
        return Evidence(by_modality=by_modality, best=best)

    def cosines(
        self, query: Query, candidates: Candidates
    ) -> tuple[dict[Term, Values], dict[str, NDArray[np.int64]]]:
        """By term (n,) cosines, ABSENT where a segment has none; and `Evidence.best`."""
        cosines: dict[Term, Values] = {}
        best: dict[str, NDArray[np.int64]] = {}
        n = candidates.n
        if (row := query.rows.get("seen")) is not None:
            cosines["seen"], best["frames"] = self._seen(row, candidates)
        if (row := query.rows.get("heard")) is not None:
            cosines["heard"], best["heard"] = _best(candidates.heard, row, n)
        if (row := query.rows.get("said")) is not None:
            cosines["said"], best["said"] = _best(candidates.said, row, n)
            if query.words:
                exact = [sum(query.words.get(w, 0.0) for w in spoken) for spoken in candidates.spoken]
                cosines["said"] = cosines["said"] + self.words * np.array(exact)
        if (row := query.rows.get("fused")) is not None:
            cosines["fused"], _ = _best(candidates.fused, row, n)
        return cosines, best

    def _seen(self, row: Rows, candidates: Candidates) -> tuple[Values, NDArray[np.int64]]:
        """Half the pooled row's cosine, half the soft maximum over frames, as in SAVE section 3.4."""
        pooled, _ = _best(candidates.seen, row, candidates.n)
        if candidates.frames is None or not len(candidates.frames.rows):
            return pooled, np.full(candidates.n, -1)
        top, best = _best(candidates.frames, row, candidates.n)
        owners = candidates.frames.owners
        local = candidates.frames.rows @ row
        sums, counts = np.zeros(candidates.n), np.bincount(owners, minlength=candidates.n)
        np.add.at(sums, owners, np.exp(self.sharpness * (local - top[owners])))
        there = counts > 0
        soft = np.full(candidates.n, ABSENT)
        soft[there] = top[there] + np.log(sums[there] / counts[there]) / self.sharpness
        return (pooled + soft) / 2, best

    def background(self, aim: Aim, evidence: Values, n_segments: int) -> Background:
        """From a query's evidence for some segments of a library, (n,), and how many it holds in all."""
        prior, n = self.calibrations[aim], len(evidence)
        middle, high = np.quantile(evidence, (0.5, 0.9)) if n else (prior.prior_median, 0.0)
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


def _best(stack: Stack, row: Rows, n: int) -> tuple[Values, NDArray[np.int64]]:
    """The highest cosine of each segment, ABSENT where it has no row; and that row's place in its segment."""
    values, places = np.full(n, ABSENT), np.full(n, -1)
    if not len(stack.rows):
        return values, places
    cosines = (stack.rows @ row).astype(np.float64)
    owners, first = np.unique(stack.owners, return_index=True)
    values[owners] = np.maximum.reduceat(cosines, first)
    # Of equal rows the first one counts.
    order = np.lexsort((-np.arange(len(cosines)), cosines, stack.owners))
    last = np.append(first[1:], len(cosines)) - 1
    places[owners] = order[last] - first
    return values, places


def _shares(row: Rows, parts: Stack, n: int) -> Values:
    """(n, 3): which share of the fused cosine each modality brought; what speaks against it brought none."""
    brought = np.zeros((n, 3))
    if len(parts.rows):
        brought[parts.owners[::3]] = np.maximum(0, (parts.rows @ row).reshape(-1, 3))
    total = brought.sum(axis=1, keepdims=True)
    shares: Values = np.divide(brought, total, out=np.zeros_like(brought), where=total > 0)
    # Where nothing speaks for it, what little evidence there is belongs to the frames that were fused.
    shares[total[:, 0] <= 0, 0] = 1
    return shares
